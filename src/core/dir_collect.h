// DirCollector: removes the records below directories that are gone, a bounded number at a time.
//
// A directory may vanish at the server with a million names below it. Its own records go at once; its id is
// condemned in the same batch (kState "ns/gone/" be64(ino)), and each later listing page collects a few
// hundred children, directories among them becoming condemned in turn. A crash in between loses nothing: the
// condemned ids are found again. Threads: any; concurrent calls do the same work twice at worst.
#pragma once

#include "core/namespace_context.h"

namespace s3cache::core {

class DirCollector {
 public:
  explicit DirCollector(NsContext& context) : c_(context) {}

  static void condemn(uint64_t ino, meta::Batch& batch);
  // Removes at most kStep children of one condemned directory. False: there is none.
  bool step();

  static constexpr size_t kStep = 256;

 private:
  NsContext& c_;
};

}  // namespace s3cache::core
