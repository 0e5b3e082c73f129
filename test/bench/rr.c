// SPDX-License-Identifier: Apache-2.0
/*
 * Request and response over one TCP connection, as short as the network allows: what a packet's way costs when
 * nothing waits behind it. In C, because an event loop would add more than what is measured.
 *   rr serve PORT BYTES           answers every connection, one after another, until it is ended
 *   rr ask ADDRESS PORT BYTES MS  asks for MS milliseconds, then prints {"count":…,"p50Us":…,"p99Us":…}
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BYTES_MAX 65536
#define SAMPLES_MAX 4000000

static char buffer[BYTES_MAX];
static unsigned samples_ns[SAMPLES_MAX];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* False at the end of the connection. */
static int read_all(int fd, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		ssize_t n = read(fd, buffer + at, bytes - at);

		if (n <= 0)
			return 0;
		at += n;
	}
	return 1;
}

static int open_socket(void)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void serve(int port, size_t bytes)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int listener = open_socket();

	if (bind(listener, (void *)&at, sizeof(at)) || listen(listener, 8))
		fail("listen");
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		int on = 1, fd = accept(listener, 0, 0);

		if (fd < 0)
			fail("accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		while (read_all(fd, bytes))
			if (write(fd, buffer, bytes) != (ssize_t)bytes)
				break;
		close(fd);
	}
}

static int by_size(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x < y ? -1 : x > y;
}

static void ask(const char *address, int port, size_t bytes, int ms)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = open_socket(), count = 0;
	long long end, begin;

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || connect(fd, (void *)&to, sizeof(to)))
		fail(address);
	end = now_ns() + ms * 1000000LL;
	for (begin = now_ns(); begin < end && count < SAMPLES_MAX; count++) {
		long long after;

		if (write(fd, buffer, bytes) != (ssize_t)bytes || !read_all(fd, bytes))
			fail("ask");
		after = now_ns();
		samples_ns[count] = after - begin;
		begin = after;
	}
	qsort(samples_ns, count, sizeof(samples_ns[0]), by_size);
	printf("{\"count\":%d,\"p50Us\":%.1f,\"p99Us\":%.1f}\n", count, samples_ns[count / 2] / 1e3,
	       samples_ns[(int)(count * 0.99)] / 1e3);
}

int main(int argc, char **argv)
{
	size_t bytes = argc > 3 ? strtoul(argv[argc == 4 ? 3 : 4], 0, 10) : 0;

	if (bytes < 1 || bytes > BYTES_MAX)
		return fprintf(stderr, "usage: rr serve PORT BYTES | rr ask ADDRESS PORT BYTES MS\n"), 2;
	if (argc == 4 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]), bytes);
	else if (argc == 6 && !strcmp(argv[1], "ask"))
		ask(argv[2], atoi(argv[3]), bytes, atoi(argv[5]));
	return 0;
}
