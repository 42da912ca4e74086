#include "fuse/errno.h"

#include <cerrno>

namespace s3cache::fuse {

int to_errno(Code code) {
  switch (code) {
    case Code::kNotFound:
      return ENOENT;
    case Code::kExists:
      return EEXIST;
    case Code::kAccessDenied:
      return EACCES;  // not EPERM: the server said no to this caller's credentials, another key may do
    case Code::kStale:
      return ESTALE;  // open(2) and stat(2) walk the path once more on it
    case Code::kIo:
      return EIO;
    case Code::kUnavailable:
      return EIO;  // not EAGAIN or EHOSTDOWN: programs retry the first for ever and do not know the second
    case Code::kTimeout:
      return ETIMEDOUT;
    case Code::kNoSpace:
      return ENOSPC;
    case Code::kNoMemory:
      return ENOMEM;
    case Code::kCorrupt:
      return EIO;
    case Code::kInvalid:
      return EINVAL;
    case Code::kUnsupported:
      return EOPNOTSUPP;  // never ENOSYS: the kernel would stop asking for the rest of the mount's life
    case Code::kReadOnly:
      return EROFS;
    case Code::kNameTooLong:
      return ENAMETOOLONG;
    case Code::kNotDirectory:
      return ENOTDIR;
    case Code::kIsDirectory:
      return EISDIR;
    case Code::kNotEmpty:
      return ENOTEMPTY;
    case Code::kBusy:
      return EBUSY;
    case Code::kCancelled:
      return EINTR;
    case Code::kNewerFormat:
      return EIO;
    case Code::kTooBig:
      return EFBIG;
  }
  return EIO;
}

int to_inode_errno(Code code) {
  // The kernel came with a name it believes in. ESTALE makes it look that name up again and drop it, where
  // ENOENT would leave the wrong name standing until its TTL; the caller still sees ENOENT, from the second
  // walk.
  return code == Code::kNotFound ? ESTALE : to_errno(code);
}

int to_xattr_errno(Code code) {
  if (code == Code::kNotFound) return ENODATA;
  if (code == Code::kTooBig) return ENOSPC;  // the 2 KiB of an object's headers are full
  return to_errno(code);
}

}  // namespace s3cache::fuse
