// SPDX-License-Identifier: Apache-2.0
// One netlink request and what the kernel answers, in the thread's network namespace, without returning to the event
// loop in between. Knows messages, not what they mean. Key material may be in them: no copy stays behind in here.
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <string>
#include <vector>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

// The kernel fills at most 32 KiB of one dump message.
constexpr size_t kReplyBytes = 65536;
constexpr uint32_t kMaxProtocol = 31;
constexpr timeval kTimeout{5, 0};

// Overwritten at the end of its scope.
class SecretBuffer {
 public:
  SecretBuffer() : bytes_(kReplyBytes) {}
  SecretBuffer(const SecretBuffer&) = delete;
  SecretBuffer& operator=(const SecretBuffer&) = delete;
  ~SecretBuffer() { explicit_bzero(bytes_.data(), bytes_.size()); }
  uint8_t* data() { return bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  std::vector<uint8_t> bytes_;
};

// The messages of an answer; overwritten at the end of its scope unless they were handed out whole.
class Answers {
 public:
  explicit Answers(Napi::Env env) : messages_(Napi::Array::New(env)) {}
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;
  ~Answers() {
    for (uint32_t at = 0; !whole_ && at < messages_.Length(); at++) {
      const Napi::Value message = messages_.Get(at);
      const auto bytes = message.As<Napi::Buffer<uint8_t>>();
      explicit_bzero(bytes.Data(), bytes.Length());
    }
  }
  void Add(Napi::Env env, const uint8_t* bytes, size_t length) {
    messages_.Set(messages_.Length(), Napi::Buffer<uint8_t>::Copy(env, bytes, length));
  }
  Napi::Array HandOut() {
    whole_ = true;
    return messages_;
  }

 private:
  Napi::Array messages_;
  bool whole_ = false;
};

int OpenNetlink(Napi::Env env, const std::string& op, int protocol) {
  ScopedFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (socket.get() < 0) ThrowErrno(env, op, errno);
  if (setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof kTimeout) != 0) ThrowErrno(env, op, errno);
  return socket.release();
}

// Adds one datagram's messages to `answers`; true when the answer is whole.
bool TakeMessages(Napi::Env env, const std::string& op, uint8_t* bytes, size_t length, Answers& answers) {
  for (size_t at = 0; at + sizeof(nlmsghdr) <= length;) {
    nlmsghdr header;
    memcpy(&header, bytes + at, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - at) ThrowErrno(env, op, EPROTO);
    if (header.nlmsg_flags & NLM_F_DUMP_INTR) ThrowErrno(env, op, EINTR, "the tables changed while they were read");
    if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
      int32_t error = 0;
      if (header.nlmsg_len >= sizeof header + sizeof error) memcpy(&error, bytes + at + sizeof header, sizeof error);
      if (error != 0) ThrowErrno(env, op, error);
      return true;
    }
    answers.Add(env, bytes + at, header.nlmsg_len);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return false;
}

// A request with NLM_F_ACK or NLM_F_DUMP: without one of them nothing would tell that the answer is whole.
Napi::Value NetlinkRequest(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const uint32_t protocol = RequireUint32(info, 0, "protocol", 0, kMaxProtocol);
  Napi::Buffer<uint8_t> message = RequireBuffer(info, 1, "message");
  nlmsghdr header;
  if (message.Length() < sizeof header) throw Napi::RangeError::New(env, "message is shorter than its header");
  memcpy(&header, message.Data(), sizeof header);
  if (header.nlmsg_len != message.Length()) throw Napi::RangeError::New(env, "message has another length than it says");
  if (!(header.nlmsg_flags & NLM_F_ACK) && (header.nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP) {
    throw Napi::RangeError::New(env, "message asks for neither an acknowledgement nor a dump");
  }
  const std::string op = "netlink request " + std::to_string(header.nlmsg_type);
  const ScopedFd socket(OpenNetlink(env, op, static_cast<int>(protocol)));
  if (send(socket.get(), message.Data(), message.Length(), 0) < 0) ThrowErrno(env, op, errno);
  Answers answers(env);
  SecretBuffer buffer;
  for (;;) {
    const ssize_t length = recv(socket.get(), buffer.data(), buffer.size(), MSG_TRUNC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) ThrowErrno(env, op, errno == EAGAIN ? ETIMEDOUT : errno);
    if (static_cast<size_t>(length) > buffer.size()) ThrowErrno(env, op, EMSGSIZE);
    if (TakeMessages(env, op, buffer.data(), static_cast<size_t>(length), answers)) return answers.HandOut();
  }
}

}  // namespace

void ExportNetlink(Napi::Env env, Napi::Object exports) {
  exports.Set("netlinkRequest", Napi::Function::New<NetlinkRequest>(env, "netlinkRequest"));
}

}  // namespace vxseal
