// SPDX-License-Identifier: Apache-2.0
/*
 * First and only process of an arm64 machine: loads every object of /bpf, runs the cases of /cases through the cipher's
 * test programs, says on the console what came of it, one line of JSON behind "vxseal: " each, and switches off.
 * Layout of /cases: cases.ts writes it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CIPHER "/aead.bpf.o"
#define VALUE_BYTES 65536

struct test_case {
	char name[64];
	char program[16];
	__u32 packet_bytes;
	__u32 verdict;
	__u32 at;                /* of what is expected, in the value of the map `result` */
	__u32 expected_bytes;
};

static int print_warnings(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vprintf(format, args) : 0;
}

static struct bpf_object *load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_map *map;

	if (!object)
		return NULL;
	bpf_object__for_each_map(map, object) bpf_map__set_pin_path(map, NULL);
	if (!bpf_object__load(object))
		return object;
	bpf_object__close(object);
	return NULL;
}

static void try_object(const char *file)
{
	struct bpf_program *program;
	struct bpf_object *object;
	char path[320];

	snprintf(path, sizeof(path), "/bpf/%s", file);
	object = load(path);
	if (!object) {
		printf("vxseal: {\"object\":\"%s\",\"program\":\"%s\",\"insns\":0,\"error\":\"errno %d\"}\n", file, file, errno);
		return;
	}
	bpf_object__for_each_program(program, object) {
		struct bpf_prog_info info = {};
		__u32 bytes = sizeof(info);

		if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes))
			info.verified_insns = 0;
		printf("vxseal: {\"object\":\"%s\",\"program\":\"%s\",\"insns\":%u,\"jited\":%u,\"error\":\"\"}\n", file,
		       bpf_program__name(program), info.verified_insns, info.jited_prog_len);
	}
	bpf_object__close(object);
}

static void try_objects(void)
{
	struct dirent *entry;
	DIR *folder = opendir("/bpf");

	while (folder && (entry = readdir(folder)))
		if (strstr(entry->d_name, ".bpf.o"))
			try_object(entry->d_name);
}

/* Returns whether verdict and bytes are the expected ones. */
static int holds(struct bpf_object *object, const struct test_case *c, __u8 *packet, const __u8 *expected)
{
	static __u8 value[VALUE_BYTES];
	struct bpf_program *program = bpf_object__find_program_by_name(object, c->program);
	int map = bpf_object__find_map_fd_by_name(object, "result");
	__u32 zero = 0;
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = c->packet_bytes, .repeat = 1);

	if (!program || bpf_prog_test_run_opts(bpf_program__fd(program), &run) || run.retval != c->verdict)
		return 0;
	return !bpf_map_lookup_elem(map, &zero, value) && !memcmp(value + c->at, expected, c->expected_bytes);
}

static void try_cases(void)
{
	struct bpf_object *object = load(CIPHER);
	FILE *cases = fopen("/cases", "r");
	struct test_case c;
	unsigned passed = 0;

	if (!object || !cases) {
		printf("vxseal: {\"failed\":\"the cipher's test programs: errno %d\"}\n", errno);
		return;
	}
	while (fread(&c, sizeof(c), 1, cases) == 1) {
		__u8 *packet = malloc(c.packet_bytes), *expected = malloc(c.expected_bytes + 1);

		if (!packet || !expected || fread(packet, 1, c.packet_bytes, cases) != c.packet_bytes ||
		    fread(expected, 1, c.expected_bytes, cases) != c.expected_bytes) {
			printf("vxseal: {\"failed\":\"/cases is cut off\"}\n");
			return;
		}
		if (holds(object, &c, packet, expected))
			passed++;
		else
			printf("vxseal: {\"failed\":\"%s\"}\n", c.name);
		free(packet);
		free(expected);
	}
	printf("vxseal: {\"passed\":%u}\n", passed);
}

int main(void)
{
	struct utsname kernel;
	int console;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	if (console >= 0) {
		dup2(console, 1);
		dup2(console, 2);
	}
	mount("proc", "/proc", "proc", 0, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	libbpf_set_print(print_warnings);
	uname(&kernel);
	printf("vxseal: {\"release\":\"%s\"}\n", kernel.release);
	try_objects();
	try_cases();
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 1;
}
