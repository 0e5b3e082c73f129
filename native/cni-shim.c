/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CNI plugin that the container runtime runs (CNI spec 1.1.0). It carries a call to the agent over its unix
 * socket and prints the answer: it judges no configuration, touches no network, and needs nothing on the host, no
 * Node.js and no shared library. What it must do by itself is to be right when the agent does not answer.
 *
 * Request: POST /v1/cni, body = "NAME=value\0" for each CNI_* variable, one more '\0', then stdin as it came.
 * Answer: 200 and what is to be printed (may be empty), 422 and a CNI error object. docs/cni.md §"The socket".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/vxseal/agent.sock"
#define LATEST_VERSION "1.1.0"
#define SUPPORTED_VERSIONS "\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""

#define STDIN_MAX (1u << 20)     /* bytes; a GC's list of 10,000 attachments fits */
#define VARIABLE_MAX (128u << 10) /* bytes of one CNI_* variable, the kernel's own limit (MAX_ARG_STRLEN) */
#define ANSWER_MAX ((1u << 20) + (16u << 10))
/* The agent's own deadline is 10 s (agent/control/pods.ts): its answer, with the reason, comes first. */
#define DEADLINE_MS 15000
/* A container's end must not wait for us: the agent finds out by itself (PodStore.dropVanished). */
#define DEL_DEADLINE_MS 5000

/* CNI spec §"Error" */
enum cni_error {
	CNI_BAD_ENVIRONMENT = 4,
	CNI_IO = 5,
	CNI_DECODE = 6,
	CNI_TRY_LATER = 11,
	CNI_NOT_AVAILABLE = 50,
};

static const char *const VARIABLES[] = { "CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS" };
static const char *const COMMANDS[] = { "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION" };
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct bytes {
	char *data;
	size_t length, capacity;
};

struct call {
	const char *command;
	char version[16];        /* of the network configuration, digits and dots */
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct bytes config;
	long long deadline_ms;   /* CLOCK_MONOTONIC */
};

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* False when it would grow past `max`, or memory is out. */
static bool append(struct bytes *to, const void *data, size_t length, size_t max)
{
	if (length > max || to->length > max - length)
		return false;
	if (to->length + length > to->capacity) {
		size_t capacity = to->capacity ? to->capacity : 4096;
		char *grown;

		while (capacity < to->length + length)
			capacity *= 2;
		grown = realloc(to->data, capacity);
		if (!grown)
			return false;
		to->data = grown;
		to->capacity = capacity;
	}
	if (length)
		memcpy(to->data + to->length, data, length);
	to->length += length;
	return true;
}

/* -------------------------------------------------------------------------------------------- what is printed */

static bool write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t wrote = write(fd, data, length);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			return false;
		data += wrote;
		length -= wrote;
	}
	return true;
}

/* Prints a CNI error object; the message is plain text of ours, escaped for what a path may hold. */
static int fail(const struct call *call, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int fail(const struct call *call, int code, const char *format, ...)
{
	char message[512], escaped[6 * sizeof(message)], *out = escaped;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	for (const char *in = message; *in; in++) {
		if (*in == '"' || *in == '\\') {
			*out++ = '\\';
			*out++ = *in;
		} else if ((unsigned char)*in < 0x20 || (unsigned char)*in >= 0x7f) {
			*out++ = '?';
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
	printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\"}\n", call->version, code, escaped);
	fflush(stdout);
	return 1;
}

/* ------------------------------------------------------------------------------------- network configuration */

static const char *skip_space(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at;
}

/* `at` is behind the opening quote. Returns the closing one, or NULL. */
static const char *string_end(const char *at, const char *end)
{
	for (; at < end; at++) {
		if (*at == '"')
			return at;
		if (*at == '\\' && ++at == end)
			break;
	}
	return NULL;
}

/* Behind the value that begins at `at`, or NULL. Objects and lists are skipped by depth: the agent parses them. */
static const char *skip_value(const char *at, const char *end)
{
	const char *start = at;
	size_t depth = 0;

	for (; at < end; at++) {
		if (*at == '"') {
			at = string_end(at + 1, end);
			if (!at)
				return NULL;
			if (!depth)
				return at + 1;
		} else if (*at == '{' || *at == '[') {
			depth++;
		} else if (*at == '}' || *at == ']') {
			if (!depth)
				return at > start ? at : NULL;
			if (!--depth)
				return at + 1;
		} else if (!depth && (*at == ',' || *at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
			return at > start ? at : NULL;
		}
	}
	return NULL;
}

/* A string without escapes, short enough and of these characters; anything else leaves `to` as it was. */
static void take_string(char *to, size_t size, const char *allowed, const char *from, const char *until)
{
	size_t length = until - from;

	if (length == 0 || length >= size)
		return;
	for (size_t i = 0; i < length; i++) {
		unsigned char c = from[i];

		if (c < 0x20 || c == '\\' || (allowed && !strchr(allowed, c)))
			return;
	}
	memcpy(to, from, length);
	to[length] = '\0';
}

static bool key_is(const char *name, const char *from, const char *until)
{
	return (size_t)(until - from) == strlen(name) && !memcmp(from, name, until - from);
}

/* Takes "cniVersion" and "socket" from the top level of the configuration. False when it is no JSON object. */
static bool read_config(struct call *call)
{
	const char *at = call->config.data, *end = at + call->config.length;

	at = skip_space(at, end);
	if (at == end || *at++ != '{')
		return false;
	at = skip_space(at, end);
	if (at < end && *at == '}')
		return true;
	for (;;) {
		const char *key, *key_end, *value;

		at = skip_space(at, end);
		if (at == end || *at++ != '"')
			return false;
		key = at;
		key_end = string_end(at, end);
		if (!key_end)
			return false;
		at = skip_space(key_end + 1, end);
		if (at == end || *at++ != ':')
			return false;
		value = skip_space(at, end);
		at = skip_value(value, end);
		if (!at)
			return false;
		if (*value == '"' && key_is("cniVersion", key, key_end))
			take_string(call->version, sizeof(call->version), "0123456789.", value + 1, at - 1);
		if (*value == '"' && key_is("socket", key, key_end))
			take_string(call->socket, sizeof(call->socket), NULL, value + 1, at - 1);
		at = skip_space(at, end);
		if (at == end)
			return false;
		if (*at == '}')
			return true;
		if (*at++ != ',')
			return false;
	}
}

/* ----------------------------------------------------------------------------------------------- input, output */

/* 0 when ready, else an errno. */
static int wait_for(int fd, short events, long long deadline_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	for (;;) {
		long long left = deadline_ms - now_ms();
		int ready;

		if (left <= 0)
			return ETIMEDOUT;
		ready = poll(&poll_fd, 1, (int)left);
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return errno;
	}
}

/* Reads to the end. 0, EFBIG past `max`, ETIMEDOUT, or another errno. */
static int read_to_end(int fd, struct bytes *to, size_t max, long long deadline_ms)
{
	char chunk[16384];

	for (;;) {
		int error = wait_for(fd, POLLIN, deadline_ms);
		ssize_t got;

		if (error)
			return error;
		got = read(fd, chunk, sizeof(chunk));
		if (got == 0)
			return 0;
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return errno;
		if (!append(to, chunk, got, max))
			return EFBIG;
	}
}

/* 0 with a connected socket in *fd, or an errno. */
static int connect_agent(const char *path, int *fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	memcpy(address.sun_path, path, strlen(path) + 1);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return errno;
	/* Non-blocking: a full backlog is EAGAIN at once. */
	fcntl(*fd, F_SETFL, O_NONBLOCK);
	return connect(*fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;
}

static int send_all(int fd, const struct bytes *data, long long deadline_ms)
{
	size_t sent = 0;

	while (sent < data->length) {
		int error = wait_for(fd, POLLOUT, deadline_ms);
		ssize_t wrote;

		if (error)
			return error;
		wrote = send(fd, data->data + sent, data->length - sent, MSG_NOSIGNAL);
		if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		/* An agent that refuses early has answered: read why. */
		if (wrote < 0 && errno == EPIPE)
			return 0;
		if (wrote < 0)
			return errno;
		sent += wrote;
	}
	return 0;
}

static bool build_request(const struct call *call, struct bytes *request)
{
	const size_t max = STDIN_MAX + COUNT(VARIABLES) * VARIABLE_MAX + 4096;
	struct bytes body = {};
	char head[256];
	bool built = true;
	int length;

	for (size_t i = 0; i < COUNT(VARIABLES) && built; i++) {
		const char *value = getenv(VARIABLES[i]);

		if (value)
			built = strlen(value) <= VARIABLE_MAX && append(&body, VARIABLES[i], strlen(VARIABLES[i]), max) &&
				append(&body, "=", 1, max) && append(&body, value, strlen(value) + 1, max);
	}
	built = built && append(&body, "", 1, max) && append(&body, call->config.data, call->config.length, max);
	length = snprintf(head, sizeof(head),
			  "POST /v1/cni HTTP/1.1\r\nHost: vxseal\r\nConnection: close\r\n"
			  "Content-Type: application/vnd.vxseal.cni\r\nContent-Length: %zu\r\n\r\n",
			  body.length);
	built = built && append(request, head, length, max) && append(request, body.data, body.length, max);
	free(body.data);
	return built;
}

/* Status of the answer, with its body; 0 when it is not whole. Headers end where the first empty line is. */
static int parse_answer(const struct bytes *answer, const char **body, size_t *body_length)
{
	const char *end = answer->data + answer->length, *line, *next;
	bool length_known = false;
	size_t length = 0;
	int status;

	if (answer->length < 13 || memcmp(answer->data, "HTTP/1.", 7) || answer->data[8] != ' ')
		return 0;
	status = atoi((char[]){ answer->data[9], answer->data[10], answer->data[11], '\0' });
	for (line = answer->data; (next = memmem(line, end - line, "\r\n", 2)); line = next + 2) {
		if (next == line) {
			*body = line + 2;
			*body_length = end - *body;
			return length_known && *body_length == length ? status : 0;
		}
		if (next - line < 64 && next - line > 15 && !strncasecmp(line, "content-length:", 15)) {
			length = strtoul(line + 15, NULL, 10); /* ends at the \r that was found */
			length_known = true;
		}
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- calls */

/* The agent did not answer. A container's end goes on; everything else may be tried again. */
static int unanswered(const struct call *call, const char *what, int error)
{
	if (!strcmp(call->command, "DEL")) {
		fprintf(stderr, "vxseal: agent at %s: %s: %s; it will find out by itself\n", call->socket, what,
			strerror(error));
		return 0;
	}
	return fail(call, !strcmp(call->command, "STATUS") ? CNI_NOT_AVAILABLE : CNI_TRY_LATER,
		    "vxseal agent at %s: %s: %s; start it (vxseal agent) or read its log", call->socket, what,
		    strerror(error));
}

static int print_answer(const struct call *call, const struct bytes *answer)
{
	const char *body;
	size_t length;
	int status = parse_answer(answer, &body, &length);

	if (!status)
		return unanswered(call, "its answer broke off", EPROTO);
	if (status != 200 && status != 422)
		return fail(call, !strcmp(call->command, "STATUS") ? CNI_NOT_AVAILABLE : CNI_TRY_LATER,
			    "vxseal agent at %s: HTTP status %d; is it of the same version as the plugin?", call->socket,
			    status);
	if (!write_all(STDOUT_FILENO, body, length))
		return 1;
	return status == 200 ? 0 : 1;
}

static int ask_agent(const struct call *call)
{
	struct bytes request = {}, answer = {};
	int fd = -1, error, code;

	if (!build_request(call, &request)) {
		free(request.data);
		return fail(call, CNI_BAD_ENVIRONMENT, "a CNI_* variable is longer than %u bytes", VARIABLE_MAX);
	}
	error = connect_agent(call->socket, &fd);
	if (error) {
		code = unanswered(call, "cannot be reached", error);
	} else if ((error = send_all(fd, &request, call->deadline_ms)) ||
		   (error = read_to_end(fd, &answer, ANSWER_MAX, call->deadline_ms))) {
		code = unanswered(call, "no answer", error);
	} else {
		code = print_answer(call, &answer);
	}
	if (fd >= 0)
		close(fd);
	free(request.data);
	free(answer.data);
	return code;
}

static bool is_command(const char *name)
{
	for (size_t i = 0; i < COUNT(COMMANDS); i++)
		if (!strcmp(name, COMMANDS[i]))
			return true;
	return false;
}

static int run(struct call *call)
{
	int error;

	if (!call->command)
		return fail(call, CNI_BAD_ENVIRONMENT,
			    "CNI_COMMAND is not set: this is a CNI plugin, run by the container runtime");
	if (!is_command(call->command))
		return fail(call, CNI_BAD_ENVIRONMENT, "CNI_COMMAND %.32s is none of ADD, DEL, CHECK, GC, STATUS, VERSION",
			    call->command);
	call->deadline_ms = now_ms() + (!strcmp(call->command, "DEL") ? DEL_DEADLINE_MS : DEADLINE_MS);
	error = read_to_end(STDIN_FILENO, &call->config, STDIN_MAX, call->deadline_ms);
	if (error)
		return fail(call, CNI_IO, "the network configuration on stdin cannot be read: %s", strerror(error));
	if (!strcmp(call->command, "VERSION") && call->config.length == 0)
		return printf("{\"cniVersion\":\"" LATEST_VERSION "\",\"supportedVersions\":[" SUPPORTED_VERSIONS "]}\n") < 0;
	if (!read_config(call))
		return fail(call, CNI_DECODE, "the network configuration on stdin is no JSON object");
	if (!strcmp(call->command, "VERSION"))
		return printf("{\"cniVersion\":\"%s\",\"supportedVersions\":[" SUPPORTED_VERSIONS "]}\n", call->version) < 0;
	return ask_agent(call);
}

int main(void)
{
	struct call call = { .command = getenv("CNI_COMMAND"), .version = LATEST_VERSION, .socket = DEFAULT_SOCKET };
	int code;

	signal(SIGPIPE, SIG_IGN);
	code = run(&call);
	free(call.config.data);
	return code;
}
