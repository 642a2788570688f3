// Which program holds namespaces open and reaps orphans? The first process of each Pod's sandbox, and
// of the cluster itself. It ends when it is told to.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal) { _exit(0); }

static void reap(int signal) {
  while (waitpid(-1, NULL, WNOHANG) > 0) {
  }
}

int main(void) {
  signal(SIGINT, end);
  signal(SIGTERM, end);
  signal(SIGCHLD, reap);
  reap(0); // what ended before
  for (;;) pause();
}
