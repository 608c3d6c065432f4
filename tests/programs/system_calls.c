/* system_calls CASE: gives the kernel a block that has been freed, or bytes beyond one, and tells what came of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define TEXT "eleven bytes"
enum { SIZE = sizeof TEXT, MINE = 7777 };

extern ssize_t __read_chk(int file, void* data, size_t size, size_t room);
extern ssize_t __pread_chk(int file, void* data, size_t size, off_t offset, size_t room);
extern ssize_t __recv_chk(int file, void* data, size_t size, size_t room, int flags);
extern ssize_t __recvfrom_chk(int file, void* data, size_t size, size_t room, int flags, struct sockaddr* from,
                              socklen_t* length);

static void* volatile hidden; /* from the compiler: it may know what free does */

static void* freed_copy(const void* of, size_t size) {
  memcpy(hidden = malloc(size), of, size);
  free(hidden);
  return hidden;
}
static char* freed(void) { return freed_copy(TEXT, SIZE); }

static int in, out; /* what is written to `out` comes in at `in` */

static void open_pipe(void) {
  int both[2];
  if (pipe(both)) abort();
  in = both[0], out = both[1];
}
static void open_sockets(int type) {
  int both[2];
  if (socketpair(AF_UNIX, type, 0, both)) abort();
  in = both[0], out = both[1];
}
static void open_file(void) {
  in = out = fileno(tmpfile());
  if (pwrite(out, TEXT, SIZE, 0) != SIZE) abort();
}

static void tell(ssize_t result, const char* text, size_t length) {
  const int error = errno;
  char line[300];
  int used = result < 0
                 ? sprintf(line, "%zd, %s\n", result, strerrorname_np(error))
                 : sprintf(line, "%zd, %.*s%s\n", result, (int)length, text, error == MINE ? "" : ", errno changed");
  if (write(1, line, used) != used) abort();
}
/* The result of a call that was to send, and what arrived. */
static void sent(ssize_t result) {
  const int error = errno;
  char text[100] = "nothing";
  if (result > 0 && read(in, text, sizeof text) != result) abort();
  errno = error;
  tell(result, text, strlen(text));
}
/* The result of a call that was to receive, and what it received. */
static void received(ssize_t result, const char* text) { tell(result, text, SIZE); }
static void fill(void) {
  if (write(out, TEXT, SIZE) != SIZE) abort();
}

static void interrupted(int signal) { (void)signal; }

static int is(const char* a, const char* b) { return strcmp(a, b) == 0; }

int main(int count, char** argument) {
  const char* what = argument[count - 1];
  char text[SIZE] = TEXT, room[SIZE];
  struct iovec parts[] = {{text, SIZE}, {room, SIZE}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 1};
  char* block;
  errno = MINE;

  if (is(what, "write")) {
    open_pipe();
    sent(write(out, freed(), SIZE));
  } else if (is(what, "write twice")) { /* the second finds the page open */
    open_pipe();
    block = freed();
    sent(write(out, block, SIZE));
    sent(write(out, block, SIZE));
  } else if (is(what, "write too much")) {
    open_sockets(SOCK_DGRAM); /* all of it or nothing */
    tell(write(out, malloc(SIZE), 8192), TEXT, SIZE);
  } else if (is(what, "pwrite")) {
    open_file();
    const ssize_t result = pwrite(out, freed(), SIZE, 0);
    lseek(out, 0, SEEK_SET);
    sent(result);
  } else if (is(what, "writev") || is(what, "writev array")) {
    open_pipe();
    parts[0].iov_base = freed();
    const int array = is(what, "writev array");
    sent(writev(out, array ? freed_copy(parts, sizeof parts[0]) : parts, 1));
  } else if (is(what, "many parts")) {
    enum { MANY = 300 };
    static struct iovec many[MANY];
    open_sockets(SOCK_DGRAM); /* all of it or nothing */
    for (int i = 0; i < MANY; ++i) many[i] = (struct iovec){freed(), SIZE};
    const ssize_t result = writev(out, many, MANY);
    tell(result, TEXT, SIZE);
  } else if (is(what, "send")) {
    open_sockets(SOCK_STREAM);
    sent(send(out, freed(), SIZE, 0));
  } else if (is(what, "sendto")) {
    open_sockets(SOCK_DGRAM);
    sent(sendto(out, freed(), SIZE, 0, NULL, 0));
  } else if (is(what, "sendto name")) {
    struct sockaddr nobody = {.sa_family = AF_UNIX, .sa_data = "\0nobody"};
    open_sockets(SOCK_DGRAM);
    sent(sendto(out, TEXT, SIZE, 0, freed_copy(&nobody, sizeof nobody), sizeof nobody));
  } else if (is(what, "sendmsg")) {
    open_sockets(SOCK_STREAM);
    parts[0].iov_base = freed();
    sent(sendmsg(out, &message, 0));
  } else if (is(what, "sendmsg header")) {
    open_sockets(SOCK_STREAM);
    sent(sendmsg(out, freed_copy(&message, sizeof message), 0));
  } else if (is(what, "sendmsg control")) {
    union {
      struct cmsghdr header;
      char space[CMSG_SPACE(sizeof(int))];
    } control = {.header = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    open_sockets(SOCK_STREAM);
    memcpy(CMSG_DATA(&control.header), &in, sizeof in);
    message.msg_control = freed_copy(&control, sizeof control);
    message.msg_controllen = sizeof control;
    sent(sendmsg(out, &message, 0));
  } else if (is(what, "sendmmsg")) {
    open_sockets(SOCK_DGRAM);
    parts[0].iov_base = freed();
    struct mmsghdr messages[] = {{message, 0}, {message, 0}};
    const ssize_t result = sendmmsg(out, messages, 2, 0);
    tell(result, TEXT, SIZE);
  } else if (is(what, "read") || is(what, "read checked")) {
    open_pipe();
    fill();
    block = freed();
    received(is(what, "read") ? read(in, block, SIZE) : __read_chk(in, block, SIZE, SIZE), block);
  } else if (is(what, "pread") || is(what, "pread checked")) {
    open_file();
    block = freed();
    received(is(what, "pread") ? pread(in, block, SIZE, 0) : __pread_chk(in, block, SIZE, 0, SIZE), block);
  } else if (is(what, "readv")) { /* of the two, the second is bad */
    open_pipe();
    fill();
    parts[0].iov_len = 6;
    parts[1].iov_base = block = freed();
    received(readv(in, parts, 2), block);
  } else if (is(what, "recv") || is(what, "recv checked")) {
    open_sockets(SOCK_STREAM);
    fill();
    block = freed();
    received(is(what, "recv") ? recv(in, block, SIZE, 0) : __recv_chk(in, block, SIZE, SIZE, 0), block);
  } else if (is(what, "recvfrom") || is(what, "recvfrom checked")) {
    open_sockets(SOCK_STREAM);
    fill();
    block = freed();
    received(is(what, "recvfrom") ? recvfrom(in, block, SIZE, 0, NULL, NULL)
                                  : __recvfrom_chk(in, block, SIZE, SIZE, 0, NULL, NULL),
             block);
  } else if (is(what, "recvfrom name")) { /* the message is gone, so nobody may ask for it again */
    struct sockaddr from;
    open_sockets(SOCK_DGRAM);
    fill();
    received(recvfrom(in, text, SIZE, 0, &from, freed_copy(&(socklen_t){sizeof from}, sizeof(socklen_t))), text);
  } else if (is(what, "recvmsg")) {
    open_sockets(SOCK_STREAM);
    fill();
    parts[0].iov_base = block = freed();
    received(recvmsg(in, &message, 0), block);
  } else if (is(what, "recvmmsg array")) {
    open_sockets(SOCK_STREAM);
    fill();
    struct mmsghdr first = {message, 0};
    first.msg_hdr.msg_iov = freed_copy(parts, sizeof parts);
    const ssize_t result = recvmmsg(in, &first, 1, 0, NULL);
    tell(result, text, SIZE);
  } else if (is(what, "recv datagram")) { /* gone as well */
    open_sockets(SOCK_DGRAM);
    fill();
    block = freed();
    received(recv(in, block, SIZE, 0), block);
  } else if (is(what, "read event")) { /* gone as well */
    in = eventfd(1, 0);
    block = freed();
    received(read(in, block, 8), block);
  } else if (is(what, "nowhere")) { /* what is wrong has nothing to do with us */
    open_pipe();
    sent(write(out, (void*)8, SIZE));
    sent(writev(out, (void*)8, 2));
    parts[0].iov_base = (void*)8;
    sent(writev(out, parts, 2));
    sent(sendmsg(out, (void*)8, 0));
    open_sockets(SOCK_STREAM);
    sent(sendmsg(out, (void*)8, 0));
    message.msg_iov = (void*)8;
    sent(sendmsg(out, &message, 0));
    fill();
    received(recvfrom(in, room, SIZE, 0, (void*)text, (void*)8), room);
    received(read(in, malloc(SIZE), (size_t)-1), text);
  } else if (is(what, "right")) { /* and nothing is wrong here */
    open_sockets(SOCK_STREAM);
    block = memcpy(malloc(SIZE), TEXT, SIZE);
    sent(write(out, block, SIZE));
    sent(send(out, block, SIZE, 0));
    fill();
    received(read(in, block, SIZE), block);
    errno = MINE;
    received(recv(-1, block, SIZE, 0), block);
  } else if (is(what, "interrupted")) {
    open_pipe();
    sigaction(SIGALRM, &(struct sigaction){.sa_handler = interrupted}, NULL);
    ualarm(50000, 50000); /* the first may come before the read */
    received(read(in, malloc(SIZE), SIZE), text);
  } else {
    return 9;
  }
  return 0;
}
