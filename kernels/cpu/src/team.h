// Threads of one parallel region: a spinning barrier and a shared task counter.
#pragma once

#include <atomic>
#include <cstdint>
#include <sched.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace octavo {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  int size() const { return size_; }
  void resize(int size) { size_ = size; }

  // Barrier with acquire-release ordering: what any thread wrote before it is visible to all after it.
  // Begins a new phase.
  void barrier() {
    if (size_ == 1) {
      next_.store(0, std::memory_order_relaxed);
      return;
    }
    uint32_t round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      next_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    // Spins outlast most waits. Where another program has a core, two threads of this team may share one:
    // the one that is waited for only runs when the other yields.
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins < 2000) relax();
      else sched_yield();
    }
  }

  // Next index of the phase's shared task counter.
  int64_t next() { return next_.fetch_add(1, std::memory_order_relaxed); }

 private:
  int size_ = 1;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> round_{0};
  alignas(64) std::atomic<int64_t> next_{0};
};

// RAII flush-to-zero; denormals are ~100x slower.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// work(task) for all tasks of a phase: a thread's first is static, so that its data can be prefetched;
// the rest are taken dynamically.
template <class Work>
void share_tasks(Team& team, int thread, int64_t tasks, const Work& work) {
  for (int64_t task = thread; task < tasks; task = team.size() + team.next()) work(task);
}

// Run body(team, thread) on every thread of one OpenMP region.
template <class Body>
void run_team(int threads, const Body& body) {
  Team team;
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
  {
    // Threads may be fewer than were asked for, as inside another region.
#pragma omp single
    team.resize(omp_get_num_threads());
    FlushDenormals flush;
    body(team, omp_get_thread_num());
  }
#else
  (void)threads;
  body(team, 0);
#endif
}

}  // namespace octavo
