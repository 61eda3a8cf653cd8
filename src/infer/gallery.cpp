#include "infer/gallery.h"

#include <array>
#include <cstdio>

#include "base/error.h"

namespace orrery {
namespace {

constexpr int kReloadSeconds = 10;

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .3rem; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
section { border-top: 1px solid #8885; margin-top: 1.2rem; padding-top: 1rem; }
.row { align-items: flex-start; display: flex; flex-wrap: wrap; gap: 1rem; margin-top: .6rem; }
.facts { color: #777; font-size: .85rem; }
.prompt { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
figure { display: table; margin: 0; }
figcaption { caption-side: bottom; color: #777; display: table-caption; font-size: .85rem; margin-top: .2rem;
  overflow-wrap: anywhere; }
img, video, .none { border-radius: 4px; display: block; height: 11rem; background: #8882; }
.none { width: 15rem; display: flex; align-items: center; justify-content: center; color: #777;
  padding: 0 .6rem; box-sizing: border-box; overflow: hidden; font-size: .85rem; overflow-wrap: anywhere; }
.failed { color: #c22; }
progress { width: 100%; }
)css";

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// A file's name as a relative address.
std::string address(const std::string& file) {
  std::string out;
  for (const char c : file) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                       (byte >= 'A' && byte <= 'Z') || c == '-' || c == '_' || c == '.' || c == '~';
    std::array<char, 4> code{};
    std::snprintf(code.data(), code.size(), "%%%02X", byte);
    out += plain ? std::string(1, c) : std::string(code.data());
  }
  return out;
}

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) out += i + k <= bytes.size() ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string data_address(const std::string& jpeg) {
  return "data:image/jpeg;base64," + base64(jpeg);
}

std::string seconds_text(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), seconds < 100 ? "%.1f s" : "%.0f s", seconds);
  return text.data();
}

std::string facts_html(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string out;
  for (const auto& [name, value] : facts)
    out += (out.empty() ? "" : " &middot; ") + escaped(name) + " " + escaped(value);
  return "<div class=facts>" + out + "</div>\n";
}

std::string film_html(const GalleryFilm& film) {
  const std::string seed = text_of("seed ", film.seed);
  if (film.state == GalleryFilm::State::waiting)
    return "<figure><div class=none>not made yet</div><figcaption>" + seed + "</figcaption></figure>\n";
  if (film.state == GalleryFilm::State::failed)
    return "<figure><div class=\"none failed\">" + escaped(film.error) + "</div><figcaption>" + seed +
           ", failed</figcaption></figure>\n";
  const std::string source = "\"" + address(film.file) + "\"";
  const std::string picture =
      film.file.ends_with(".mp4")
          ? "<video loop muted preload=none onpointerenter=\"this.controls = true\" poster=\"" +
                data_address(film.last_jpeg) + "\" src=" + source + "></video>"
          : "<img alt=\"\" src=" + source + ">";
  return "<figure>" + picture + "<figcaption><a href=" + source + ">" + escaped(film.file) + "</a>, " + seed +
         ", " + seconds_text(film.seconds) + "</figcaption></figure>\n";
}

std::string sample_html(const GallerySample& sample) {
  std::string out = "<section>\n<h2>" + escaped(sample.name) + "</h2>\n<p class=prompt>" +
                    escaped(sample.prompt) + "</p>\n" + facts_html(sample.facts);
  if (!sample.negative_prompt.empty())
    out += "<details class=facts><summary>negative prompt</summary>" + escaped(sample.negative_prompt) +
           "</details>\n";
  out += "<div class=row>\n";
  if (!sample.given_jpeg.empty())
    out += "<figure><img alt=\"last given frame\" src=\"" + data_address(sample.given_jpeg) +
           "\"><figcaption>last given frame</figcaption></figure>\n";
  for (const GalleryFilm& film : sample.films) out += film_html(film);
  return out + "</div>\n</section>\n";
}

}  // namespace

std::string html_of(const Gallery& gallery) {
  int64_t all = 0, done = 0, failed = 0;
  std::string samples;
  for (const GallerySample& sample : gallery.samples) {
    samples += sample_html(sample);
    for (const GalleryFilm& film : sample.films) {
      ++all;
      done += film.state == GalleryFilm::State::done ? 1 : 0;
      failed += film.state == GalleryFilm::State::failed ? 1 : 0;
    }
  }
  const bool waiting = done + failed < all;
  std::string counts = text_of(done, " of ", all, " films");
  if (failed > 0) counts += text_of(", <span class=failed>", failed, " failed</span>");
  std::string out = "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n";
  if (waiting) out += text_of("<meta http-equiv=refresh content=", kReloadSeconds, ">\n");
  out += "<meta name=viewport content=\"width=device-width\">\n<title>" + escaped(gallery.title) +
         "</title>\n<style>" + kStyle + "</style>\n</head>\n<body>\n<h1>" + escaped(gallery.title) +
         "</h1>\n<div>" + counts + "</div>\n" + facts_html(gallery.facts);
  if (waiting) out += text_of("<progress value=", done + failed, " max=", all, "></progress>\n");
  return out + samples + "</body>\n</html>\n";
}

}  // namespace orrery
