#pragma once
// SIGUSR1 asks a training run to stop: it ends its step, saves a checkpoint and exits with Exit::stopped; the
// same command goes on from there. Job scripts send it before their time is up (slurm/job.sbatch); mpirun
// and srun pass it on to all ranks.

namespace orrery::cli {

void watch_stop_signal();  // from now on the signal is noted; before, it ends the process
bool stop_was_asked();

}  // namespace orrery::cli
