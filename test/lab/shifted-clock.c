/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a process: its wall clock is off by SHIFT_SECONDS. The kernel has no namespace for that clock. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void)
{
	const char *text = getenv("SHIFT_SECONDS");

	return text ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at)
{
	int result = syscall(SYS_clock_gettime, id, at);

	if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		at->tv_sec += shift();
	return result;
}

int gettimeofday(struct timeval *at, void *zone)
{
	struct timespec now;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now))
		return -1;
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
