// ViewLock: the store's one reader-writer lock, which lets writers go first.
//
// glibc's default (and so std::shared_mutex) prefers readers: four FUSE workers answering hits without a
// pause would keep apply() and the committing thread out. The price of writers-first is that a reader must
// never take the lock twice; the store calls nobody while it holds it. Threads: a lock. Errors: none.
#pragma once

#include <pthread.h>

#include "base/sync.h"

namespace s3cache::meta {

class S3C_TSA(capability("shared_mutex")) ViewLock {
 public:
  ViewLock() {
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock_, &attr);
    pthread_rwlockattr_destroy(&attr);
  }
  ~ViewLock() { pthread_rwlock_destroy(&lock_); }
  ViewLock(const ViewLock&) = delete;
  ViewLock& operator=(const ViewLock&) = delete;

  void lock() S3C_TSA(acquire_capability()) { pthread_rwlock_wrlock(&lock_); }
  void unlock() S3C_TSA(release_capability()) { pthread_rwlock_unlock(&lock_); }
  void lock_shared() S3C_TSA(acquire_shared_capability()) { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() S3C_TSA(release_shared_capability()) { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

class S3C_TSA(scoped_lockable) ViewShared {
 public:
  explicit ViewShared(ViewLock& l) S3C_TSA(acquire_shared_capability(l)) : l_(l) { l_.lock_shared(); }
  ~ViewShared() S3C_TSA(release_capability()) { l_.unlock_shared(); }
  ViewShared(const ViewShared&) = delete;
  ViewShared& operator=(const ViewShared&) = delete;

 private:
  ViewLock& l_;
};

class S3C_TSA(scoped_lockable) ViewExclusive {
 public:
  explicit ViewExclusive(ViewLock& l) S3C_TSA(acquire_capability(l)) : l_(l) { l_.lock(); }
  ~ViewExclusive() S3C_TSA(release_capability()) { l_.unlock(); }
  ViewExclusive(const ViewExclusive&) = delete;
  ViewExclusive& operator=(const ViewExclusive&) = delete;

 private:
  ViewLock& l_;
};

}  // namespace s3cache::meta
