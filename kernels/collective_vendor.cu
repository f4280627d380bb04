// SPDX-License-Identifier: Apache-2.0
// NCCL or RCCL (the same interface) behind CollectiveGroup; not compiled for the host. Declared
// here as far as used, so that neither header nor library is needed to build.
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/collective_probe.h"
#include "kernels/gpu.h"
#include "kernels/gpu_device.h"
#include "kernels/kernel_list.h"

namespace moesim::gpu::MOESIM_BACKEND {
namespace {

struct UniqueId {
  char bytes[128];  // NCCL_UNIQUE_ID_BYTES
};
using Comm = void*;
using NativeStream = MOESIM_RUNTIME(Stream_t);
constexpr int kFloat32 = 7;  // ncclFloat32
constexpr int kSum = 0;      // ncclSum

/// The functions, and the library's complaints as DeviceError.
struct Library {
  int (*get_unique_id)(UniqueId*) = nullptr;
  int (*init_rank)(Comm*, int, UniqueId, int) = nullptr;
  int (*destroy)(Comm) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*send)(const void*, std::size_t, int, int, Comm, NativeStream) = nullptr;
  int (*recv)(void*, std::size_t, int, int, Comm, NativeStream) = nullptr;
  int (*all_reduce)(const void*, void*, std::size_t, int, int, Comm, NativeStream) = nullptr;
  int (*all_gather)(const void*, void*, std::size_t, int, Comm, NativeStream) = nullptr;
  int (*reduce_scatter)(const void*, void*, std::size_t, int, int, Comm, NativeStream) = nullptr;
  const char* (*error_text)(int) = nullptr;

  void check(int code, const char* call) const {
    if (code != 0) {
      throw DeviceError(std::string(call) + " failed: " + error_text(code));
    }
  }
};

template <class F>
bool find(void* library, const char* name, F* function) {
  *function = reinterpret_cast<F>(dlsym(library, name));
  return *function != nullptr;
}

/// Null, with the reason, when the library is absent or too old.
const Library* load_library(std::string* why_absent) {
#if defined(__CUDACC__)
  const char* name = "libnccl.so.2";
#else
  const char* name = "librccl.so.1";
#endif
  static Library library;
  void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    *why_absent = std::string(name) + " cannot be loaded";
    return nullptr;
  }
  const bool is_complete = find(handle, "ncclGetUniqueId", &library.get_unique_id) &&
                           find(handle, "ncclCommInitRank", &library.init_rank) &&
                           find(handle, "ncclCommDestroy", &library.destroy) &&
                           find(handle, "ncclGroupStart", &library.group_start) &&
                           find(handle, "ncclGroupEnd", &library.group_end) &&
                           find(handle, "ncclSend", &library.send) &&
                           find(handle, "ncclRecv", &library.recv) &&
                           find(handle, "ncclAllReduce", &library.all_reduce) &&
                           find(handle, "ncclAllGather", &library.all_gather) &&
                           find(handle, "ncclReduceScatter", &library.reduce_scatter) &&
                           find(handle, "ncclGetErrorString", &library.error_text);
  if (!is_complete) {
    *why_absent = std::string(name) + " lacks a function (2.7 or later is needed)";
    return nullptr;
  }
  return &library;
}

/// Rank 0 writes the id to the rendezvous file in one rename; the others wait for it.
UniqueId shared_id(const Library& library, const ProcessPlace& place) {
  UniqueId id;
  if (place.rank == 0) {
    library.check(library.get_unique_id(&id), "ncclGetUniqueId");
  }
  if (place.rendezvous.empty()) {
    return id;
  }
  if (place.rank == 0) {
    const std::string temporary = place.rendezvous + ".writing";
    std::ofstream(temporary, std::ios::binary).write(id.bytes, sizeof id.bytes);
    std::filesystem::rename(temporary, place.rendezvous);
    return id;
  }
  for (int tenth = 0; tenth < 600; ++tenth) {
    std::ifstream file(place.rendezvous, std::ios::binary);
    if (file.read(id.bytes, sizeof id.bytes)) {
      return id;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw DeviceError("rank 0 wrote no " + place.rendezvous + " within a minute");
}

class VendorCollective : public CollectiveGroup {
 public:
  VendorCollective(const Library& library, const ProcessPlace& place, int ranks)
      : library_(library), place_(place), ranks_(ranks) {
    const UniqueId id = shared_id(library, place);
    const int local = place.rendezvous.empty() ? ranks : 1;
    comms_.resize(local, nullptr);
    for (int i = 0; i < local; ++i) {
      indices_.push_back(place.rendezvous.empty() ? i : place.local_rank % num_devices());
      devices_.push_back(open_gpu(indices_.back()));
    }
    library_.check(library_.group_start(), "ncclGroupStart");
    for (int i = 0; i < local; ++i) {
      MOESIM_CALL(MOESIM_RUNTIME(SetDevice)(indices_[i]));
      library_.check(library_.init_rank(&comms_[i], ranks, id, rank_of(i)), "ncclCommInitRank");
    }
    library_.check(library_.group_end(), "ncclGroupEnd");
  }
  ~VendorCollective() override {
    for (Comm comm : comms_) {
      library_.destroy(comm);
    }
  }

  int num_ranks() const override { return ranks_; }
  int num_local() const override { return static_cast<int>(comms_.size()); }
  int rank_of(int local) const override { return place_.rendezvous.empty() ? local : place_.rank; }
  Device& device(int local) override { return *devices_[local]; }

  void run(const CollectiveCall& call) override {
    library_.check(library_.group_start(), "ncclGroupStart");
    for (int i = 0; i < num_local(); ++i) {
      MOESIM_CALL(MOESIM_RUNTIME(SetDevice)(indices_[i]));
      enqueue(call, i);
    }
    library_.check(library_.group_end(), "ncclGroupEnd");
    for (int i = 0; i < num_local(); ++i) {
      devices_[i]->synchronize(devices_[i]->default_stream());
    }
  }

 private:
  void enqueue(const CollectiveCall& call, int i) {
    const NativeStream stream = native(devices_[i]->default_stream());
    const float* from = call.send[i];
    float* to = call.receive[i];
    const std::size_t part = call.count / ranks_;
    switch (call.kind) {
      case CollectiveKind::all_reduce:
        library_.check(library_.all_reduce(from, to, call.count, kFloat32, kSum, comms_[i], stream),
                       "ncclAllReduce");
        return;
      case CollectiveKind::all_gather:
        library_.check(library_.all_gather(from, to, part, kFloat32, comms_[i], stream),
                       "ncclAllGather");
        return;
      case CollectiveKind::reduce_scatter:
        library_.check(library_.reduce_scatter(from, to, part, kFloat32, kSum, comms_[i], stream),
                       "ncclReduceScatter");
        return;
      case CollectiveKind::all_to_all:
        break;
    }
    const int rank = rank_of(i);
    for (int peer = 0; peer < ranks_; ++peer) {
      const std::size_t out = call.pairs[std::size_t(rank) * ranks_ + peer];
      const std::size_t in = call.pairs[std::size_t(peer) * ranks_ + rank];
      if (out > 0) {
        library_.check(library_.send(from, out, kFloat32, peer, comms_[i], stream), "ncclSend");
      }
      if (in > 0) {
        library_.check(library_.recv(to, in, kFloat32, peer, comms_[i], stream), "ncclRecv");
      }
      from += out;
      to += in;
    }
  }

  const Library& library_;
  ProcessPlace place_;
  int ranks_;
  std::vector<int> indices_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Comm> comms_;
};

}  // namespace

std::unique_ptr<CollectiveGroup> open_collective(const ProcessPlace& place, int ranks,
                                                 std::string* why_absent) {
  const int here = place.rendezvous.empty() ? num_devices() : place.num_processes;
  if (ranks > here || ranks < 2 || (!place.rendezvous.empty() && ranks != here)) {
    *why_absent = std::to_string(ranks) + " ranks asked for, " + std::to_string(here) + " here";
    return nullptr;
  }
  const Library* library = load_library(why_absent);
  return library == nullptr ? nullptr : std::make_unique<VendorCollective>(*library, place, ranks);
}

}  // namespace moesim::gpu::MOESIM_BACKEND
