// SPDX-License-Identifier: Apache-2.0
// cuBLASLt and hipBLASLt as a baseline: their headers at compile time where the toolkit has them,
// their libraries when the program runs. The two interfaces differ in the prefix only.
#include <dlfcn.h>

#include "kernels/gpu.h"
#include "kernels/kernel_list.h"

#if defined(__CUDACC__) && __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define MOESIM_LT(name) cublasLt##name
#define MOESIM_LT_ENUM(name) CUBLASLT_##name
#define MOESIM_LT_STATUS cublasStatus_t
#define MOESIM_LT_COMPUTE CUBLAS_COMPUTE_32F
#define MOESIM_LT_TRANSPOSE CUBLAS_OP_T
#define MOESIM_LT_TYPE(name) CUDA_##name
#define MOESIM_HAVE_LT 1
#elif defined(__HIP__) && __has_include(<hipblaslt/hipblaslt.h>)
#include <hipblaslt/hipblaslt.h>
#define MOESIM_LT(name) hipblasLt##name
#define MOESIM_LT_ENUM(name) HIPBLASLT_##name
#define MOESIM_LT_STATUS hipblasStatus_t
#define MOESIM_LT_COMPUTE HIPBLAS_COMPUTE_32F
#define MOESIM_LT_TRANSPOSE HIPBLAS_OP_T
#define MOESIM_LT_TYPE(name) HIP_##name
#define MOESIM_HAVE_LT 1
#else
#define MOESIM_HAVE_LT 0
#endif

namespace moesim::gpu::MOESIM_BACKEND {

#if MOESIM_HAVE_LT
namespace {

#define MOESIM_TEXT_OF(x) #x
#define MOESIM_TEXT(x) MOESIM_TEXT_OF(x)

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;

class LtGemm : public VendorGemm {
 public:
  explicit LtGemm(void* library) : library_(library) {
    load(MOESIM_TEXT(MOESIM_LT(Create)), &create_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulDescCreate)), &desc_create_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulDescSetAttribute)), &desc_set_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulDescDestroy)), &desc_destroy_);
    load(MOESIM_TEXT(MOESIM_LT(MatrixLayoutCreate)), &layout_create_);
    load(MOESIM_TEXT(MOESIM_LT(MatrixLayoutDestroy)), &layout_destroy_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulPreferenceCreate)), &preference_create_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulPreferenceSetAttribute)), &preference_set_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulPreferenceDestroy)), &preference_destroy_);
    load(MOESIM_TEXT(MOESIM_LT(MatmulAlgoGetHeuristic)), &heuristic_);
    load(MOESIM_TEXT(MOESIM_LT(Matmul)), &matmul_);
    check(create_(&handle_), "Create");
    MOESIM_CALL(MOESIM_RUNTIME(Malloc)(&workspace_, kWorkspaceBytes));
  }
  ~LtGemm() override {
    forget_shape();
    (void)MOESIM_RUNTIME(Free)(workspace_);
  }

  std::string name() const override { return MOESIM_TEXT(MOESIM_LT(Matmul)); }

  void prepare(const GemmShape& s) override {
    forget_shape();
    const auto in = s.format == NumberFormat::fp32   ? MOESIM_LT_TYPE(R_32F)
                    : s.format == NumberFormat::bf16 ? MOESIM_LT_TYPE(R_16BF)
                                                     : MOESIM_LT_TYPE(R_8F_E4M3);
    const auto out =
        s.format == NumberFormat::fp32 ? MOESIM_LT_TYPE(R_32F) : MOESIM_LT_TYPE(R_16BF);
    // The library is column-major: row-major C = A B^T is column-major C^T = op_T(B^T) A^T.
    check(desc_create_(&desc_, MOESIM_LT_COMPUTE, MOESIM_LT_TYPE(R_32F)), "MatmulDescCreate");
    const auto transpose = MOESIM_LT_TRANSPOSE;
    check(desc_set_(desc_, MOESIM_LT_ENUM(MATMUL_DESC_TRANSA), &transpose, sizeof transpose),
          "MatmulDescSetAttribute");
    check(layout_create_(&b_, in, s.k, s.n, s.k), "MatrixLayoutCreate");
    check(layout_create_(&a_, in, s.k, s.m, s.k), "MatrixLayoutCreate");
    check(layout_create_(&c_, out, s.n, s.m, s.n), "MatrixLayoutCreate");
    MOESIM_LT(MatmulPreference_t) preference = nullptr;
    check(preference_create_(&preference), "MatmulPreferenceCreate");
    std::uint64_t workspace = kWorkspaceBytes;
    const MOESIM_LT_STATUS set = preference_set_(
        preference, MOESIM_LT_ENUM(MATMUL_PREF_MAX_WORKSPACE_BYTES), &workspace, sizeof workspace);
    int found = 0;
    const MOESIM_LT_STATUS status =
        heuristic_(handle_, desc_, b_, a_, c_, c_, preference, 1, &algorithm_, &found);
    preference_destroy_(preference);
    check(set, "MatmulPreferenceSetAttribute");
    check(status, "MatmulAlgoGetHeuristic");
    if (found == 0) {
      throw DeviceError(name() + ": no algorithm for this shape");
    }
  }

  void run(StreamHandle stream, const void* a, const void* b, void* c) override {
    const float one = 1.0f;
    const float zero = 0.0f;
    check(matmul_(handle_, desc_, &one, b, b_, a, a_, &zero, c, c_, c, c_, &algorithm_.algo,
                  workspace_, kWorkspaceBytes, native(stream)),
          "Matmul");
  }

 private:
  template <class F>
  void load(const char* name, F* function) {
    *function = reinterpret_cast<F>(dlsym(library_, name));
    if (*function == nullptr) {
      throw DeviceError(std::string("the vendor's matrix library has no ") + name);
    }
  }
  static void check(MOESIM_LT_STATUS status, const char* call) {
    if (static_cast<int>(status) != 0) {
      throw DeviceError(std::string(MOESIM_BACKEND_NAME " matrix library: ") + call +
                        " failed (code " + std::to_string(static_cast<int>(status)) + ")");
    }
  }
  void forget_shape() {
    if (desc_ != nullptr) {
      desc_destroy_(desc_);
    }
    for (auto* layout : {&a_, &b_, &c_}) {
      if (*layout != nullptr) {
        layout_destroy_(*layout);
      }
      *layout = nullptr;
    }
    desc_ = nullptr;
  }

  void* library_;
  decltype(&MOESIM_LT(Create)) create_ = nullptr;
  decltype(&MOESIM_LT(MatmulDescCreate)) desc_create_ = nullptr;
  decltype(&MOESIM_LT(MatmulDescSetAttribute)) desc_set_ = nullptr;
  decltype(&MOESIM_LT(MatmulDescDestroy)) desc_destroy_ = nullptr;
  decltype(&MOESIM_LT(MatrixLayoutCreate)) layout_create_ = nullptr;
  decltype(&MOESIM_LT(MatrixLayoutDestroy)) layout_destroy_ = nullptr;
  decltype(&MOESIM_LT(MatmulPreferenceCreate)) preference_create_ = nullptr;
  decltype(&MOESIM_LT(MatmulPreferenceSetAttribute)) preference_set_ = nullptr;
  decltype(&MOESIM_LT(MatmulPreferenceDestroy)) preference_destroy_ = nullptr;
  decltype(&MOESIM_LT(MatmulAlgoGetHeuristic)) heuristic_ = nullptr;
  decltype(&MOESIM_LT(Matmul)) matmul_ = nullptr;
  MOESIM_LT(Handle_t) handle_ = nullptr;
  MOESIM_LT(MatmulDesc_t) desc_ = nullptr;
  MOESIM_LT(MatrixLayout_t) a_ = nullptr;
  MOESIM_LT(MatrixLayout_t) b_ = nullptr;
  MOESIM_LT(MatrixLayout_t) c_ = nullptr;
  MOESIM_LT(MatmulHeuristicResult_t) algorithm_ = {};
  void* workspace_ = nullptr;
};

}  // namespace

std::unique_ptr<VendorGemm> open_vendor_gemm(std::string* why_absent) {
#if defined(__CUDACC__)
  const char* names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
#else
  const char* names[] = {"libhipblaslt.so.0", "libhipblaslt.so.1", "libhipblaslt.so"};
#endif
  for (const char* name : names) {
    if (void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
      try {
        return std::make_unique<LtGemm>(library);
      } catch (const DeviceError& error) {
        *why_absent = error.what();
        return nullptr;
      }
    }
  }
  *why_absent = std::string(names[0]) + " cannot be loaded";
  return nullptr;
}

#else

std::unique_ptr<VendorGemm> open_vendor_gemm(std::string* why_absent) {
  *why_absent = MOESIM_BACKEND_NAME ": this build has no vendor matrix library";
  return nullptr;
}

#endif

}  // namespace moesim::gpu::MOESIM_BACKEND
