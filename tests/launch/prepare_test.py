#!/usr/bin/env python3
"""launch/prepare.py on small folders."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = pathlib.Path(__file__).parents[2] / "launch" / "prepare.py"


class Prepare(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.folder = pathlib.Path(self.scratch.name)

    def run_it(self, *words):
        return subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, check=False)

    def test_captions_of_a_table(self):
        table = self.folder / "metadata.csv"
        table.write_text('file,text\ngr1/7.mp4,"Pick up, then put down"\n8.mp4,pick, without quotes\n')
        done = self.run_it("captions", table, self.folder / "gr1", "--prefix=A robot. ")
        self.assertEqual(done.returncode, 0, done.stderr)
        metas = self.folder / "gr1" / "metas"
        self.assertEqual((metas / "7.txt").read_text(), "A robot. Pick up, then put down")
        self.assertEqual((metas / "8.txt").read_text(), "A robot. pick, without quotes")

    def test_a_row_without_caption_is_refused(self):
        table = self.folder / "metadata.csv"
        table.write_text("file,text\n7.mp4\n")
        done = self.run_it("captions", table, self.folder)
        self.assertEqual(done.returncode, 1)
        self.assertIn("row 2", done.stderr)

    def test_samples_of_a_folder(self):
        images = self.folder / "images"
        images.mkdir()
        for name, prompt in (("1_Use the hand to move", "Use the hand to move."), ("2_b", "b")):
            (images / f"{name}.png").touch()
            (images / (name + ("..txt" if prompt.endswith(".") else ".txt"))).write_text(prompt + "\n")
        done = self.run_it("samples", images, self.folder / "batch.jsonl", "--resolution=432,768")
        self.assertEqual(done.returncode, 0, done.stderr)
        first, second = map(json.loads, (self.folder / "batch.jsonl").read_text().splitlines())
        self.assertEqual(first, {"inference_type": "image2world", "name": "000_1_Use_the_hand_to_move",
                                 "prompt": "Use the hand to move.", "input_path": "images/1_Use the hand to move.png",
                                 "resolution": "432,768"})
        self.assertEqual(second["name"], "001_2_b")

    def test_an_image_without_prompt_is_refused(self):
        (self.folder / "a.png").touch()
        done = self.run_it("samples", self.folder, self.folder / "batch.jsonl")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no a.txt", done.stderr)


if __name__ == "__main__":
    unittest.main()
