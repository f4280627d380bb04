// SPDX-License-Identifier: Apache-2.0
// Communication constants of a machine from its samples, as a cluster profile.
//
// Collectives: a law per op and library (calibrate/collective_law_fit.h), from the newest version
// of the library that was measured. Expert kernels: start-up, seconds a byte and what SMs do, from
// one-node rows of several shapes; what the network adds, from rows across nodes. A constant that
// no sample tells keeps the profile's value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/comm_samples.h"
#include "sim/input/cluster_profile.h"

namespace moesim {

/// Samples that are fitted together: pointers into CommSamples.
struct MachineSamples {
  std::vector<const CollectiveSample*> collectives;
  std::vector<const ExchangeSample*> exchanges;
  std::vector<const NvlinkSample*> nvlink;
};

/// What a fit could not tell from the samples.
struct FittedCluster {
  ClusterProfile profile;
  bool has_low_latency = false;  ///< fitted, one node
  bool has_normal = false;       ///< fitted, one node
  bool has_network = false;      ///< fitted, low latency across nodes
  bool has_normal_network = false;
};

/// `base` with every constant that `samples` tell; `device_sms` of its GPUs; `source` says who
/// measured. `donor`: kernels of a like machine, in this one's rates. Where samples of one node are
/// of too few shapes to tell a low-latency kernel's parts, they set two factors on the donor's: one
/// for all that an empty call costs, one for all that grows with the tokens.
FittedCluster fit_cluster(const ClusterProfile& base, const MachineSamples& samples,
                          double device_sms, const std::string& source,
                          const ExpertKernels* donor = nullptr);

/// `base` with the constants of `donor`, a fitted machine of the same kind: seconds a byte scaled
/// by the line rates of the links, start-ups and SM work as they are, network start-ups too.
ClusterProfile transfer_cluster(const ClusterProfile& base, const ClusterProfile& donor);

/// The network of `profile` carries this many times less than its cards: seconds of the data
/// kernels of the slow rows are explained by one factor. Least mean error over `samples`, total
/// times (notify included).
double fit_oversubscription(const ClusterProfile& profile,
                            const std::vector<const ExchangeSample*>& samples, double device_sms);

/// Seconds that `profile` predicts for a sample's data kernel plus its notify where the sample
/// has one; `oversubscription` divides the network rate.
double predicted_seconds(const ClusterProfile& profile, const ExchangeSample& sample,
                         double device_sms, double oversubscription = 1);
/// Seconds of one kernel of an exchange over NVLink; nothing when `profile` has no such constants.
std::optional<double> predicted_seconds(const ClusterProfile& profile, const NvlinkSample& sample);
/// Measured counterpart.
double measured_seconds(const ExchangeSample& sample);

}  // namespace moesim
