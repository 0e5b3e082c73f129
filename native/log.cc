// SPDX-License-Identifier: Apache-2.0
#include "log.hh"

#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>

namespace vxseal {

namespace {

// libbpf has one print function per process, but workers may load objects at the same time.
thread_local std::string* sink = nullptr;

int Print(libbpf_print_level level, const char* format, va_list arguments) {
  if (sink == nullptr || level == LIBBPF_DEBUG) return 0;
  va_list copy;
  va_copy(copy, arguments);
  const int length = vsnprintf(nullptr, 0, format, copy);
  va_end(copy);
  if (length <= 0) return 0;
  const size_t before = sink->size();
  sink->resize(before + static_cast<size_t>(length) + 1);
  vsnprintf(&(*sink)[before], static_cast<size_t>(length) + 1, format, arguments);
  sink->pop_back();  // the terminating zero
  return 0;
}

}  // namespace

void TakeOverLibbpfLog() { libbpf_set_print(Print); }

LogCapture::LogCapture() : previous_(sink) { sink = &text_; }

LogCapture::~LogCapture() { sink = previous_; }

std::string LogCapture::lastLines(size_t lines) const {
  size_t end = text_.size();
  while (end > 0 && text_[end - 1] == '\n') end--;
  size_t begin = end;
  for (size_t found = 0; begin > 0; begin--) {
    if (text_[begin - 1] == '\n' && ++found == lines) break;
  }
  return text_.substr(begin, end - begin);
}

}  // namespace vxseal
