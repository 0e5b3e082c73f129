// SPDX-License-Identifier: Apache-2.0
// Devices of the current network namespace: offload switches and sending a frame.
#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "check.hh"
#include "errno.hh"
#include "fd.hh"
#include "rooms.hh"

namespace vxseal {

namespace {

constexpr size_t kEthernetHeaderBytes = 14;
constexpr size_t kFrameBytes = 65535;
constexpr int kSendBufferBytes = 8 << 20;

struct Feature {
  const char* name;
  uint32_t get;
  uint32_t set;
  // A bit of ETHTOOL_GFLAGS, for features without commands of their own.
  uint32_t flag;
};

constexpr Feature kFeatures[] = {
    {"tx", ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM, 0}, {"rx", ETHTOOL_GRXCSUM, ETHTOOL_SRXCSUM, 0},
    {"sg", ETHTOOL_GSG, ETHTOOL_SSG, 0},         {"tso", ETHTOOL_GTSO, ETHTOOL_STSO, 0},
    {"gso", ETHTOOL_GGSO, ETHTOOL_SGSO, 0},      {"gro", ETHTOOL_GGRO, ETHTOOL_SGRO, 0},
    {"lro", ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, ETH_FLAG_LRO},
};

const Feature& RequireFeature(const Napi::CallbackInfo& info, size_t index) {
  const std::string name = RequireString(info, index, "feature");
  for (const Feature& feature : kFeatures) {
    if (name == feature.name) return feature;
  }
  throw Napi::RangeError::New(info.Env(), "feature is not one of tx, rx, sg, tso, gso, gro, lro");
}

std::string RequireDevice(const Napi::CallbackInfo& info, size_t index) {
  std::string name = RequireString(info, index, "device");
  if (name.empty() || name.size() >= IFNAMSIZ) throw Napi::RangeError::New(info.Env(), "device has 1 to 15 bytes");
  return name;
}

uint32_t Ethtool(Napi::Env env, const std::string& device, const char* feature, uint32_t command, uint32_t data) {
  const std::string op = std::string("SIOCETHTOOL ") + feature + " of " + device;
  const ScopedFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) ThrowErrno(env, op, errno);
  ethtool_value value{};
  value.cmd = command;
  value.data = data;
  ifreq request{};
  memcpy(request.ifr_name, device.c_str(), device.size());
  request.ifr_data = reinterpret_cast<char*>(&value);
  if (ioctl(socket.get(), SIOCETHTOOL, &request) != 0) ThrowErrno(env, op, errno);
  return value.data;
}

void SetOffload(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string device = RequireDevice(info, 0);
  const Feature& feature = RequireFeature(info, 1);
  const bool on = RequireBoolean(info, 2, "on");
  uint32_t data = on ? 1 : 0;
  if (feature.flag != 0) {
    const uint32_t flags = Ethtool(env, device, feature.name, feature.get, 0);
    data = on ? flags | feature.flag : flags & ~feature.flag;
  }
  Ethtool(env, device, feature.name, feature.set, data);
}

Napi::Value GetOffload(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const std::string device = RequireDevice(info, 0);
  const Feature& feature = RequireFeature(info, 1);
  const uint32_t data = Ethtool(env, device, feature.name, feature.get, 0);
  return Napi::Boolean::New(env, (feature.flag != 0 ? data & feature.flag : data) != 0);
}

// Namespace of the calling thread, as a number that no other one has while it lives; 0 if it cannot be told.
ino_t CurrentNetns() {
  struct stat status {};
  return stat("/proc/thread-self/ns/net", &status) == 0 ? status.st_ino : 0;
}

// Protocol 0: a socket that only sends receives nothing.
int OpenPacketSocket(Napi::Env env, const std::string& op, bool bypass) {
  ScopedFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) ThrowErrno(env, op, errno);
  const int one = 1;
  if (bypass && setsockopt(socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) != 0) {
    ThrowErrno(env, op, errno);
  }
  return socket.release();
}

// The thread's own namespace, and the socket that sends there. It stays open: closing a packet socket waits until
// every CPU has seen it go (synchronize_net), tens of milliseconds on a busy machine, and probes are many. Sockets of
// other namespaces are closed at once, since they would keep those alive.
thread_local ino_t home_netns = 0;
thread_local int home_socket = -1;

void SendFrame(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const uint32_t ifindex = RequireUint32(info, 0, "ifindex", 1, INT32_MAX);
  Napi::Buffer<uint8_t> frame = RequireBuffer(info, 1, "frame");
  if (frame.Length() < kEthernetHeaderBytes || frame.Length() > kFrameBytes) {
    throw Napi::RangeError::New(env, "frame has 14 to 65535 bytes");
  }
  const bool bypass = !info[2].IsUndefined() && RequireBoolean(info, 2, "bypassQdisc");
  const std::string op = "send frame on device " + std::to_string(ifindex);
  const bool keep = !bypass && home_netns != 0 && CurrentNetns() == home_netns;
  if (keep && home_socket < 0) {
    home_socket = OpenPacketSocket(env, op, false);
    // Room for a burst of probes; with the default, what a device still holds would turn the next ones away.
    setsockopt(home_socket, SOL_SOCKET, SO_SNDBUFFORCE, &kSendBufferBytes, sizeof kSendBufferBytes);
  }
  const ScopedFd passing(keep ? -1 : OpenPacketSocket(env, op, bypass));
  const int socket = keep ? home_socket : passing.get();
  sockaddr_ll target{};
  target.sll_family = AF_PACKET;
  target.sll_ifindex = static_cast<int>(ifindex);
  memcpy(&target.sll_protocol, frame.Data() + 12, sizeof target.sll_protocol);
  const ssize_t sent = sendto(socket, frame.Data(), frame.Length(), MSG_DONTWAIT,
                              reinterpret_cast<const sockaddr*>(&target), sizeof target);
  // A full send buffer and a full queue are one thing to the caller: the frame is lost.
  if (sent < 0) ThrowErrno(env, op, errno == EAGAIN ? ENOBUFS : errno);
}

}  // namespace

void ExportDevice(Napi::Env env, Napi::Object exports) {
  if (home_netns == 0) home_netns = CurrentNetns();
  exports.Set("setOffload", Napi::Function::New<SetOffload>(env, "setOffload"));
  exports.Set("getOffload", Napi::Function::New<GetOffload>(env, "getOffload"));
  exports.Set("sendFrame", Napi::Function::New<SendFrame>(env, "sendFrame"));
}

}  // namespace vxseal
