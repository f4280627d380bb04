// SPDX-License-Identifier: Apache-2.0
#include "sim/input/communication_constants.h"

namespace moesim {
namespace {

FieldDoc rate(std::string doc, bool required = true) {
  return {
      .doc = std::move(doc), .unit = "bytes_per_s", .required = required, .min = 1e6, .max = 1e15};
}

FieldDoc seconds(std::string doc) {
  return {.doc = std::move(doc), .unit = "s", .required = true, .min = 0, .max = 1};
}

/// A cost that may be left out: nothing.
FieldDoc cost(std::string doc, std::string unit) {
  return {.doc = std::move(doc), .unit = std::move(unit), .min = 0, .max = 1};
}

FieldDoc bytes(std::string doc) {
  return {.doc = std::move(doc), .unit = "bytes", .required = true, .min = 0, .max = 1e16};
}

FieldDoc count(std::string doc, double min, double max) {
  return {.doc = std::move(doc), .required = true, .min = min, .max = max};
}

}  // namespace

std::span<const Choice<CollectiveOp>> choices_of(CollectiveOp) {
  static constexpr Choice<CollectiveOp> kChoices[] = {
      {CollectiveOp::all_to_all, "all_to_all", "every rank to every rank"},
      {CollectiveOp::all_gather, "all_gather", "everyone gets every part"},
      {CollectiveOp::reduce_scatter, "reduce_scatter", "everyone gets the sum of its part"},
      {CollectiveOp::all_reduce, "all_reduce", "everyone gets the sum"},
      {CollectiveOp::point_to_point, "point_to_point", "one rank to one rank"},
  };
  return kChoices;
}

std::span<const Choice<CollectiveScope>> choices_of(CollectiveScope) {
  static constexpr Choice<CollectiveScope> kChoices[] = {
      {CollectiveScope::scale_up, "scale_up", "inside one scale-up domain"},
      {CollectiveScope::scale_out, "scale_out", "across the network"},
  };
  return kChoices;
}

std::span<const Choice<CollectiveLibrary>> choices_of(CollectiveLibrary) {
  static constexpr Choice<CollectiveLibrary> kChoices[] = {
      {CollectiveLibrary::nccl, "nccl", "NCCL or RCCL"},
      {CollectiveLibrary::vllm, "vllm", "vLLM's own kernels"},
      {CollectiveLibrary::sglang, "sglang", "SGLang's own kernels"},
      {CollectiveLibrary::trtllm, "trtllm", "TensorRT-LLM's own kernels"},
      {CollectiveLibrary::custom, "custom", "a serving framework's own kernels, whichever it is"},
  };
  return kChoices;
}

const Fields<CollectiveFit>& fields_of(const CollectiveFit*) {
  static const Fields<CollectiveFit> table = [] {
    Fields<CollectiveFit> fields("collective", "t = alpha + wire / rate");
    fields.add("op", &CollectiveFit::op, {.doc = "operation", .required = true});
    fields.add("scope", &CollectiveFit::scope, {.doc = "which network", .required = true});
    fields.add("library", &CollectiveFit::library, {.doc = "whose kernels"});
    fields.add("ranks", &CollectiveFit::ranks, count("size of the group", 2, 1e6));
    fields.add("alpha_s", &CollectiveFit::alpha, seconds("time of an empty call"));
    fields.add("bytes_per_s", &CollectiveFit::rate, rate("wire bytes per rank and direction"));
    add_provenance(fields);
    return fields;
  }();
  return table;
}

std::span<const Choice<StepPattern>> choices_of(StepPattern) {
  static constexpr Choice<StepPattern> kChoices[] = {
      {StepPattern::peers, "peers", "n - 1 steps: a ring, or one copy to each peer"},
      {StepPattern::in_switch, "in_switch",
       "(n + 1) / 2 steps from four ranks on: the switch reduces (NVLS)"},
  };
  return kChoices;
}

const Fields<CollectiveProtocol>& fields_of(const CollectiveProtocol*) {
  using P = CollectiveProtocol;
  static const Fields<P> table =
      Fields<P>("protocol", "t = start + m * step + x * own + m * x * wire, x = S / ranks")
          .add("from_bytes", &P::from, bytes("x at which the protocol takes over"))
          .add("steps", &P::steps, {.doc = "how m grows with the ranks"})
          .add("start_s", &P::start, seconds("whatever the ranks"))
          .add("step_s", &P::step, seconds("each step"))
          .add("own_s_per_byte", &P::own_s_per_byte, cost("the rank's own part", "s_per_byte"))
          .add("wire_s_per_byte", &P::wire_s_per_byte, cost("each step", "s_per_byte"));
  return table;
}

const Fields<CollectiveLaw>& fields_of(const CollectiveLaw*) {
  static const Fields<CollectiveLaw> table = [] {
    using L = CollectiveLaw;
    Fields<L> fields("collective_law", "time of a collective, a piecewise curve over protocols");
    fields.add("op", &L::op, {.doc = "operation", .required = true});
    fields.add("scope", &L::scope, {.doc = "which network", .required = true});
    fields.add("library", &L::library, {.doc = "whose kernels"});
    fields.add("software", &L::software, {.doc = "library and version"});
    fields.add("protocols", &L::protocols,
               {.doc = "ranges of bytes a peer, in order", .required = true});
    add_provenance(fields);
    return fields;
  }();
  return table;
}

const Fields<ExchangeWork>& fields_of(const ExchangeWork*) {
  using W = ExchangeWork;
  static const Fields<W> table =
      Fields<W>("exchange_work", "what an exchange kernel does beside moving bytes")
          .add("element_s", &W::element_s, cost("an element of the hidden vector, once", "s"))
          .add("expert_s", &W::expert_s, cost("an expert, of all ranks: each has its count", "s"))
          .add("token_s", &W::token_s, cost("a token", "s"))
          .add("sm_token_s", &W::sm_token_s, cost("a token, on one SM", "s"))
          .add("sm_token_element_s", &W::sm_token_element_s,
               cost("an element of a token, on one SM", "s"))
          .add("sm_copy_s", &W::sm_copy_s, cost("a copy, on one SM", "s"))
          .add("sm_copy_element_s", &W::sm_copy_element_s,
               cost("an element of a copy, on one SM", "s"));
  return table;
}

const Fields<LowLatencyExchange>& fields_of(const LowLatencyExchange*) {
  static const Fields<LowLatencyExchange> table = [] {
    using X = LowLatencyExchange;
    Fields<X> f("low-latency exchange",
                "t = alpha + alpha_net + flags + max(remote / nic, local / scale_up) + work");
    f.add("alpha_s", &X::alpha, seconds("time of an empty call"));
    f.add("alpha_net_s", &X::alpha_net, seconds("added across nodes"));
    f.add("remote_expert_s", &X::remote_expert_s, cost("an expert of another node", "s"));
    f.add("nic_bytes_per_s", &X::nic_rate, rate("remote bytes of one GPU"));
    f.add("scale_up_bytes_per_s", &X::scale_up_rate, rate("local bytes of one GPU"));
    f.add("header_bytes", &X::header, bytes("per copy, beside values and scales"));
    f.add("one_node_alpha_s", &X::one_node_alpha, seconds("empty call, all ranks in one node"));
    f.add("one_node_bytes_per_s", &X::one_node_rate, rate("all ranks in one node"));
    f.add("work", &X::work, {.doc = "what the kernel does beside moving bytes"});
    add_provenance(f);
    return f;
  }();
  return table;
}

const Fields<NormalExchange>& fields_of(const NormalExchange*) {
  static const Fields<NormalExchange> table = [] {
    using X = NormalExchange;
    Fields<X> f("normal exchange",
                "t = notify + alpha + max(remote / nic, received / min(scale_up, per_sm * sms))");
    f.add("alpha_s", &X::alpha, seconds("time of an empty call"));
    f.add("notify_s", &X::notify, seconds("size exchange before the data"));
    f.add("nic_bytes_per_s", &X::nic_rate, rate("one copy per destination node"));
    f.add("scale_up_bytes_per_s", &X::scale_up_rate, rate("copies to distinct ranks"));
    f.add("per_sm_bytes_per_s", &X::per_sm_rate, rate("what one multiprocessor moves", false));
    f.add("header_bytes", &X::header, bytes("per copy, beside values and scales"));
    f.add("one_node_alpha_s", &X::one_node_alpha, seconds("empty call, all ranks in one node"));
    f.add("one_node_bytes_per_s", &X::one_node_rate, rate("all ranks in one node"));
    f.add("one_node_per_sm_bytes_per_s", &X::one_node_per_sm_rate,
          rate("one multiprocessor, all ranks in one node", false));
    f.add("work", &X::work, {.doc = "beside moving bytes, across nodes"});
    f.add("one_node_work", &X::one_node_work, {.doc = "beside moving bytes, in one node"});
    add_provenance(f);
    return f;
  }();
  return table;
}

const Fields<NvlinkExchange>& fields_of(const NvlinkExchange*) {
  static const Fields<NvlinkExchange> table = [] {
    using X = NvlinkExchange;
    Fields<X> f("exchange over NVLink",
                "t = alpha + ranks * rank + tokens * (token + copy * own) + remote / rate");
    f.add("alpha_s", &X::alpha, seconds("time of an empty call"));
    f.add("rank_s", &X::rank_s, cost("a rank of the exchange", "s"));
    f.add("token_s", &X::token_s, cost("a token of the sender", "s"));
    f.add("own_s_per_byte", &X::own_s_per_byte, cost("each token once", "s_per_byte"));
    f.add("bytes_per_s", &X::rate, rate("copies to other ranks"));
    f.add("header_bytes", &X::header, bytes("per copy, beside values and scales"));
    add_provenance(f);
    return f;
  }();
  return table;
}

const Fields<NvlinkKernels>& fields_of(const NvlinkKernels*) {
  static const Fields<NvlinkKernels> table =
      Fields<NvlinkKernels>("kernels over NVLink", "one copy per distinct rank of a domain")
          .add("software", &NvlinkKernels::software, {.doc = "library and version"})
          .add("dispatch", &NvlinkKernels::dispatch,
               {.doc = "tokens on their way to experts", .required = true})
          .add("combine", &NvlinkKernels::combine,
               {.doc = "expert outputs on their way back", .required = true})
          .add("prepare", &NvlinkKernels::prepare, {.doc = "sizes and indices, before a dispatch"})
          .add("combine_low_precision", &NvlinkKernels::combine_low_precision,
               {.doc = "expert outputs in four bits"});
  return table;
}

const Fields<LowLatencyKernels>& fields_of(const LowLatencyKernels*) {
  static const Fields<LowLatencyKernels> table =
      Fields<LowLatencyKernels>("low-latency kernels", "one copy per selected expert")
          .add("dispatch", &LowLatencyKernels::dispatch,
               {.doc = "tokens on their way to experts", .required = true})
          .add("combine", &LowLatencyKernels::combine,
               {.doc = "expert outputs on their way back", .required = true});
  return table;
}

const Fields<NormalKernels>& fields_of(const NormalKernels*) {
  static const Fields<NormalKernels> table =
      Fields<NormalKernels>("normal kernels", "one copy per destination node")
          .add("sms", &NormalKernels::sms, count("multiprocessors taken from compute", 1, 1024))
          .add("dispatch", &NormalKernels::dispatch,
               {.doc = "tokens on their way to experts", .required = true})
          .add("combine", &NormalKernels::combine,
               {.doc = "expert outputs on their way back", .required = true});
  return table;
}

const Fields<ExpertKernels>& fields_of(const ExpertKernels*) {
  static const Fields<ExpertKernels> table =
      Fields<ExpertKernels>("expert kernels", "expert dispatch and combine")
          .add("low_latency", &ExpertKernels::low_latency,
               {.doc = "for decode: one copy per selected expert", .required = true})
          .add("normal", &ExpertKernels::normal,
               {.doc = "for prefill and training: one copy per node", .required = true})
          .add("nvlink_one_sided", &ExpertKernels::nvlink_one_sided,
               {.doc = "inside one NVLink domain: ranks store where the data is wanted"})
          .add("nvlink_two_sided", &ExpertKernels::nvlink_two_sided,
               {.doc = "inside one NVLink domain: through buffers that receivers empty"});
  return table;
}

}  // namespace moesim
