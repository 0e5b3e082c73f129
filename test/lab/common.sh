# What one machine of scripts/machines can do whoever runs the agent on it; sourced by machine.sh and kubernetes.sh, which set:
# dir, the folder of its files; WAIT_SECONDS, how long something may take; pod_netns, which prints the path of the pod's
# network namespace.

readonly BROKER=192.168.57.11 PINGS_LEAST=400
. "$tree/test/lab/within.sh"

device_of() { ip -o -4 addr show to "$1" | awk '{ print $2; exit }'; }

# Not even as what is left of it until it is waited for: the next agent would take that for a living one.
gone() { [ ! -e "/proc/$1" ]; }

broker() {
	[ "$1" != $BROKER ] || "$tree/scripts/kafka" start --dir "$dir/kafka" --host "$1" --port 9092 >/dev/null
}

pod() { local netns; netns=$(pod_netns) && exec nsenter "--net=$netns" -- "$@"; }

# Number of the last that was answered; an error that came back is no answer.
last_ping() { awk '/bytes from/ && match($0, /icmp_seq=[0-9]+/) { last = substr($0, RSTART + 9, RLENGTH - 9) } END { print last + 0 }' "$dir/pings"; }
pings_reach() { [ "$(last_ping)" -ge "$1" ]; }
# Those of a run that was broken off.
end_pings() {
	local process
	process=$(cat "$dir/pings.pid" 2>/dev/null) || return 0
	! grep -qs '^ping' "/proc/$process/cmdline" || kill -KILL "$process"
	rm -f "$dir/pings" "$dir/pings.pid"
}

# By itself it ends too, should nobody stop it. What is on its way when it ends goes unanswered.
pings() {
	local netns
	case ${1:-} in
	start)
		netns=$(pod_netns)
		end_pings
		setsid nsenter "--net=$netns" -- ping -n -i 0.02 -w $((10 * WAIT_SECONDS)) "$2" </dev/null >"$dir/pings" 2>&1 &
		echo $! >"$dir/pings.pid"
		within grep -qs 'bytes from' "$dir/pings" || fail "no ping is answered"
		;;
	stop)
		# What happened may take a while to show.
		within pings_reach $(($(last_ping) + PINGS_LEAST)) || true
		kill -INT "$(cat "$dir/pings.pid")"
		within gone "$(cat "$dir/pings.pid")" || fail "ping does not end"
		awk '/bytes from/ && !/DUP/ { match($0, /icmp_seq=[0-9]+/); last = substr($0, RSTART + 9, RLENGTH - 9); answered++ }
			/packets transmitted/ { sent = $1 }
			END { print sent + 0, answered + 0, last + 0 }' "$dir/pings"
		;;
	*) fail "pings start ADDRESS, or stop" ;;
	esac
}
