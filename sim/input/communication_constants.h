// SPDX-License-Identifier: Apache-2.0
// Constants of the communication kernels of a cluster: collectives, expert dispatch and combine.
//
// They belong to a machine *and* a library, hence to the cluster profile and not to the code. The
// laws are physical forms with few parameters, so that a law fitted at some group sizes and message
// sizes holds at others; sim/cluster/collective.h evaluates them, calibrate/ fits them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/base/field_table.h"
#include "sim/base/units.h"
#include "sim/input/sourced.h"

namespace moesim {

enum class CollectiveOp { all_to_all, all_gather, reduce_scatter, all_reduce, point_to_point };
std::span<const Choice<CollectiveOp>> choices_of(CollectiveOp);
enum class CollectiveScope { scale_up, scale_out };
std::span<const Choice<CollectiveScope>> choices_of(CollectiveScope);
enum class CollectiveLibrary { nccl, vllm, sglang, trtllm, custom };
std::span<const Choice<CollectiveLibrary>> choices_of(CollectiveLibrary);

/// t = alpha + wire / B over `ranks`; wire per rank and direction is S(n-1)/n, twice that for
/// all-reduce, S for point-to-point. S as nccl-tests counts it.
struct CollectiveFit : Provenance {
  CollectiveOp op = CollectiveOp::all_reduce;
  CollectiveScope scope = CollectiveScope::scale_up;
  CollectiveLibrary library =
      CollectiveLibrary::nccl;  ///< others: a framework's kernels in CUDA graphs
  std::int64_t ranks = 0;
  Seconds alpha;
  BytesPerSecond rate;
};

/// How the steps of a collective grow with its n ranks.
enum class StepPattern {
  peers,      ///< n - 1: a ring, or one copy to each peer
  in_switch,  ///< (n + 1) / 2 from four ranks on, else as a ring: NVLS, the switch reduces
};
std::span<const Choice<StepPattern>> choices_of(StepPattern);

/// One range of message sizes, in which a library uses one protocol (NCCL: LL, LL128, Simple).
/// With x = S / n bytes a peer and m steps: t = start + m * step + x * own + m * x * wire.
struct CollectiveProtocol {
  Bytes from;  ///< x at which it takes over; 0 for the first
  StepPattern steps = StepPattern::peers;
  Seconds start;               ///< whatever the ranks
  Seconds step;                ///< each step
  double own_s_per_byte = 0;   ///< once: the rank's own part
  double wire_s_per_byte = 0;  ///< each step
};

/// Time of one collective for any number of ranks and any size: a piecewise curve over protocols.
struct CollectiveLaw : Provenance {
  CollectiveOp op = CollectiveOp::all_reduce;
  CollectiveScope scope = CollectiveScope::scale_up;
  CollectiveLibrary library = CollectiveLibrary::nccl;
  std::string software;                       ///< library and version, "NCCL 2.29.2"
  std::vector<CollectiveProtocol> protocols;  ///< at least one, `from` increasing
};

/// What an exchange kernel does beside moving bytes: with N tokens a rank, C copies in all,
/// hidden size h and P multiprocessors at work,
/// t += h * element + experts * expert + N * token
///      + (N * (sm_token + h * sm_token_element) + C * (sm_copy + h * sm_copy_element)) / P.
struct ExchangeWork {
  double element_s = 0;
  double expert_s = 0;
  double token_s = 0;
  double sm_token_s = 0;
  double sm_token_element_s = 0;
  double sm_copy_s = 0;
  double sm_copy_element_s = 0;
};

/// One direction of the low-latency expert exchange: one copy per selected expert,
/// t = alpha + alpha_net + remote experts * flag + max(remote / nic, local / scale_up) + work;
/// alpha_net and flags only across nodes.
struct LowLatencyExchange : Provenance {
  Seconds alpha;
  Seconds alpha_net;
  double remote_expert_s = 0;  ///< an expert of another node: its count or flag is a message
  BytesPerSecond nic_rate;
  BytesPerSecond scale_up_rate;
  Bytes header;            ///< per copy, beside values and scales
  Seconds one_node_alpha;  ///< all ranks in one node: t = alpha + bytes / rate + work
  BytesPerSecond one_node_rate;
  std::optional<ExchangeWork> work;
};

/// One direction of the high-throughput expert exchange: one copy per destination node over the
/// network, then to the distinct ranks:
/// t = notify + alpha + max(remote / nic, received / min(scale_up, per_sm * sms)) + work.
struct NormalExchange : Provenance {
  Seconds alpha;
  Seconds notify;  ///< size exchange and host synchronisation before the data
  BytesPerSecond nic_rate;
  BytesPerSecond scale_up_rate;
  std::optional<BytesPerSecond> per_sm_rate;  ///< absent: `work` says what an SM does
  Bytes header;                               ///< per copy
  Seconds one_node_alpha;
  BytesPerSecond one_node_rate;
  std::optional<BytesPerSecond> one_node_per_sm_rate;
  std::optional<ExchangeWork> work;           ///< across nodes
  std::optional<ExchangeWork> one_node_work;  ///< all ranks in one node
};

/// One direction of an exchange whose ranks store into each other's memory over one NVLink domain
/// (TensorRT-LLM's multi-node NVLink kernels). A token goes once to each of its distinct ranks:
/// t = alpha + ranks * rank + N * token + N * copy * own + remote * copy / rate.
struct NvlinkExchange : Provenance {
  Seconds alpha;
  double rank_s = 0;          ///< a rank of the exchange: its flag or count
  double token_s = 0;         ///< a token of the sender
  double own_s_per_byte = 0;  ///< of each token once, whoever gets it
  BytesPerSecond rate;        ///< copies to other ranks
  Bytes header;               ///< per copy, beside values and scales
};
struct NvlinkKernels {
  std::string software;  ///< library and version
  NvlinkExchange dispatch, combine;
  std::optional<NvlinkExchange> prepare;                ///< sizes and indices, before a dispatch
  std::optional<NvlinkExchange> combine_low_precision;  ///< in four bits
};

struct LowLatencyKernels {
  LowLatencyExchange dispatch, combine;
};
struct NormalKernels {
  std::int64_t sms = 0;  ///< multiprocessors taken from compute while they run
  NormalExchange dispatch, combine;
};
/// Expert dispatch and combine kernels (DeepEP style).
struct ExpertKernels {
  LowLatencyKernels low_latency;
  NormalKernels normal;
  std::optional<NvlinkKernels> nvlink_one_sided, nvlink_two_sided;
};

const Fields<CollectiveFit>& fields_of(const CollectiveFit*);
const Fields<CollectiveProtocol>& fields_of(const CollectiveProtocol*);
const Fields<CollectiveLaw>& fields_of(const CollectiveLaw*);
const Fields<ExchangeWork>& fields_of(const ExchangeWork*);
const Fields<LowLatencyExchange>& fields_of(const LowLatencyExchange*);
const Fields<NormalExchange>& fields_of(const NormalExchange*);
const Fields<NvlinkExchange>& fields_of(const NvlinkExchange*);
const Fields<NvlinkKernels>& fields_of(const NvlinkKernels*);
const Fields<LowLatencyKernels>& fields_of(const LowLatencyKernels*);
const Fields<NormalKernels>& fields_of(const NormalKernels*);
const Fields<ExpertKernels>& fields_of(const ExpertKernels*);

}  // namespace moesim
