// Locks with clang's thread-safety annotations: one import path for every mutex of the project.
//
// `make CXX=clang++-14` builds with -Wthread-safety -Werror, so a GUARDED_BY field that is touched without
// its lock does not compile. Lock order is in src/DESIGN.md.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#if defined(__clang__)
#define S3C_TSA(x) __attribute__((x))
#else
#define S3C_TSA(x)
#endif

#define GUARDED_BY(x) S3C_TSA(guarded_by(x))
#define REQUIRES(...) S3C_TSA(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) S3C_TSA(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) S3C_TSA(locks_excluded(__VA_ARGS__))
#define ACQUIRED_BEFORE(...) S3C_TSA(acquired_before(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS S3C_TSA(no_thread_safety_analysis)

namespace s3cache {

class S3C_TSA(capability("mutex")) Mutex {
 public:
  void lock() S3C_TSA(acquire_capability()) { m_.lock(); }
  void unlock() S3C_TSA(release_capability()) { m_.unlock(); }
  bool try_lock() S3C_TSA(try_acquire_capability(true)) { return m_.try_lock(); }
  std::mutex& native() { return m_; }

 private:
  std::mutex m_;
};

class S3C_TSA(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& m) S3C_TSA(acquire_capability(m)) : m_(m) { m_.lock(); }
  ~MutexLock() S3C_TSA(release_capability()) {
    if (held_) m_.unlock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  // Drops the lock early: for replies and callbacks, which never run under a lock.
  void unlock() S3C_TSA(release_capability()) {
    m_.unlock();
    held_ = false;
  }
  void lock() S3C_TSA(acquire_capability()) {
    m_.lock();
    held_ = true;
  }

 private:
  Mutex& m_;
  bool held_ = true;
};

class S3C_TSA(capability("shared_mutex")) SharedMutex {
 public:
  void lock() S3C_TSA(acquire_capability()) { m_.lock(); }
  void unlock() S3C_TSA(release_capability()) { m_.unlock(); }
  void lock_shared() S3C_TSA(acquire_shared_capability()) { m_.lock_shared(); }
  void unlock_shared() S3C_TSA(release_shared_capability()) { m_.unlock_shared(); }

 private:
  std::shared_mutex m_;
};

class S3C_TSA(scoped_lockable) SharedLock {
 public:
  explicit SharedLock(SharedMutex& m) S3C_TSA(acquire_shared_capability(m)) : m_(m) { m_.lock_shared(); }
  ~SharedLock() S3C_TSA(release_capability()) { m_.unlock_shared(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;

 private:
  SharedMutex& m_;
};

class S3C_TSA(scoped_lockable) ExclusiveLock {
 public:
  explicit ExclusiveLock(SharedMutex& m) S3C_TSA(acquire_capability(m)) : m_(m) { m_.lock(); }
  ~ExclusiveLock() S3C_TSA(release_capability()) { m_.unlock(); }
  ExclusiveLock(const ExclusiveLock&) = delete;
  ExclusiveLock& operator=(const ExclusiveLock&) = delete;

 private:
  SharedMutex& m_;
};

// A condition variable for Mutex. wait() needs the lock held; spurious wake-ups happen, so callers loop.
class CondVar {
 public:
  void wait(Mutex& m) REQUIRES(m) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> l(m.native(), std::adopt_lock);
    cv_.wait(l);
    l.release();
  }
  // False when the time ran out.
  bool wait_for(Mutex& m, std::chrono::milliseconds d) REQUIRES(m) NO_THREAD_SAFETY_ANALYSIS {
    std::unique_lock<std::mutex> l(m.native(), std::adopt_lock);
    // system_clock: TSan of gcc 12 does not know pthread_cond_clockwait, which steady_clock would use.
    const bool in_time =
        cv_.wait_until(l, std::chrono::system_clock::now() + d) == std::cv_status::no_timeout;
    l.release();
    return in_time;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

}  // namespace s3cache
