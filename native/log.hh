// SPDX-License-Identifier: Apache-2.0
// libbpf's messages: kept while a LogCapture lives, discarded otherwise. Nothing is printed.
#ifndef VXSEAL_LOG_HH
#define VXSEAL_LOG_HH

#include <cstddef>
#include <string>

namespace vxseal {

class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // The last lines: a verifier's refusal says why at its end.
  std::string lastLines(size_t lines) const;

 private:
  std::string text_;
  std::string* previous_;
};

// Once per process, before libbpf is used.
void TakeOverLibbpfLog();

}  // namespace vxseal
#endif
