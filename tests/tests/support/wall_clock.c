/* Lets the wall clock of a process run ahead, while its monotonic clock does not: as after a freeze.
   The file that WALL_CLOCK_LEAD names holds the lead in seconds, as text. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long lead(void) {
  char text[24] = {0};
  const char *name = getenv("WALL_CLOCK_LEAD");
  int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return 0;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  return length > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at) {
  int result = (int)syscall(SYS_clock_gettime, id, at);
  if (id == CLOCK_REALTIME) at->tv_sec += lead();
  return result;
}
