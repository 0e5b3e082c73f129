# The agent on every client of a Nomad cluster, with the Docker driver. Each client has its own /etc/vxseal with
# config.yaml, node.key, node.crt and roots.crt (docs/operations.md). The clients' Docker plugin must allow:
#   plugin "docker" {
#     config {
#       volumes    { enabled = true }
#       allow_caps = ["net_admin", "net_raw", "bpf", "perfmon", "sys_admin"]
#     }
#   }
# For networks of Nomad's own (network mode "bridge" or "cni/…"): docs/cni.md, with the folders of the client's
# cni_config_dir and cni_path.
job "vxseal" {
  type     = "system"
  priority = 100

  # Node by node. Traffic goes on meanwhile.
  update {
    max_parallel = 1
    stagger      = "15s"
  }

  group "agent" {
    restart {
      attempts = 10
      interval = "5m"
      delay    = "5s"
      mode     = "delay"
    }

    task "agent" {
      driver       = "docker"
      kill_timeout = "15s"

      config {
        image           = "vxseal:0.1.0"
        args            = ["agent", "--config", "/etc/vxseal/config.yaml"]
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        cap_add         = ["net_admin", "net_raw", "bpf", "perfmon", "sys_admin"]
        # bpf(2) and setns(2) are in no default profile.
        security_opt = ["seccomp=unconfined", "apparmor=unconfined"]

        mount {
          type     = "bind"
          source   = "/etc/vxseal"
          target   = "/etc/vxseal"
          readonly = true
        }
        mount {
          type   = "bind"
          source = "/run/vxseal"
          target = "/run/vxseal"
        }
        mount {
          type   = "bind"
          source = "/var/lib/vxseal"
          target = "/var/lib/vxseal"
        }
        mount {
          type   = "bind"
          source = "/sys/fs/bpf"
          target = "/sys/fs/bpf"
        }
        # Settings of devices; a container's own view of them is read-only.
        mount {
          type   = "bind"
          source = "/proc/sys/net"
          target = "/host/proc/sys/net"
        }
        # Thrown for a moment while a pod comes or goes.
        mount {
          type   = "bind"
          source = "/sys/kernel/rcu_expedited"
          target = "/host/sys/kernel/rcu_expedited"
        }
        mount {
          type     = "bind"
          source   = "/run/netns"
          target   = "/run/netns"
          readonly = true
          bind_options {
            propagation = "rslave"
          }
        }
      }

      resources {
        cpu        = 100
        memory     = 128
        memory_max = 512
      }
    }
  }
}
