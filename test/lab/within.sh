# within COMMAND…: true once it is, asked again and again for WAIT_SECONDS, which who sources this sets. `said` is what it
# said last.

# Asking often would make a slow machine slower.
readonly TICK=$((200 * ${LAB_PATIENCE:-1}))e-3

within() {
	local end=$((SECONDS + WAIT_SECONDS))
	until said=$("$@" 2>&1); do
		[ $SECONDS -lt $end ] || return 1
		sleep $TICK
	done
}
