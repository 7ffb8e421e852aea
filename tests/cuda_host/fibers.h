// The threads of a block as fibers: each has a stack of its own and runs until it waits for others.
//
// What runs is found out as far as it can be: the threads take turns forwards and backwards, phase
// by phase (from one barrier to the next), shared memory is filled with 0xFF bytes (nan) before
// each block, and a block of which some threads wait for what others never reach is an error.
// BLOCK: threads that a block has at most.  SHIM_UCONTEXT: switch by the C library.
#pragma once

#if !defined(__x86_64__) && !defined(SHIM_UCONTEXT)
#define SHIM_UCONTEXT
#endif
#ifdef SHIM_UCONTEXT
#include <ucontext.h>
#endif

extern "C" int snprintf(char*, __SIZE_TYPE__, const char*, ...);

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
static dim3 gridDim{1, 1, 1}, blockDim{1, 1, 1};
static uint3 blockIdx{0, 0, 0}, threadIdx{0, 0, 0};
static const int warpSize = 32;

// Static memory of the block, which kernels call __shared__: the linker puts it side by side.
#define __shared__ static __attribute__((section("shim_shared")))
extern "C" __attribute__((weak, visibility("hidden"))) char __start_shim_shared[];
extern "C" __attribute__((weak, visibility("hidden"))) char __stop_shim_shared[];

namespace shim {

enum State { READY, AT_BARRIER, IN_WARP, ENDED };
struct Place { const char* file; int line; };  // in the source
typedef unsigned long long Word;
const unsigned STACK = 1 << 16;
const Word CANARY = 0x5afe57ac5afe57acull;

#ifdef SHIM_UCONTEXT
typedef ucontext_t Context;
#else
typedef void* Context;
#endif

struct Thread {
  Context context;
  State state;
  Place place;           // where it waits
  unsigned mask;         // IN_WARP: the lanes that it waits for
  unsigned source;       // the lane whose word it wants
  Word given, received;  // what it offers the others, and what it gets
  unsigned votes;        // the lanes that gave a word that is not 0
};

static Thread threads[BLOCK];
alignas(64) static char stacks[1 + BLOCK][STACK];  // the first takes what overflows
static Context scheduler;
static Thread* running;
static char failure[512];
static void (*body)(void*);
static void* arguments;

static void enter();

static bool same_place(const Place& one, const Place& other) {
  return one.line == other.line &&
         (one.file == other.file || !__builtin_strcmp(one.file, other.file));
}

#ifdef SHIM_UCONTEXT

static void prepare(unsigned index) {
  Context& context = threads[index].context;
  getcontext(&context);
  context.uc_stack.ss_sp = stacks[1 + index];
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, enter, 0);
}
static void change(Context& from, Context& to) { swapcontext(&from, &to); }

#else

// Keeps the registers that a called function must keep and the stack pointer, and goes on where
// another stack was left.
extern "C" __attribute__((visibility("hidden"))) void shim_switch(void** from, void* to);
asm(R"(
  .text
  .globl shim_switch
  .hidden shim_switch
  .type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size shim_switch, .-shim_switch
)");

static void prepare(unsigned index) {
  void** top = reinterpret_cast<void**>(stacks[1 + index] + STACK);
  top[-2] = reinterpret_cast<void*>(enter);  // where `ret` goes; the stack is aligned as by a call
  threads[index].context = top - 8;          // below: six registers
}
static void change(Context& from, Context& to) { shim_switch(&from, to); }

#endif

// Leaves the running thread, for good where it ended or failed.
static void leave(State state) {
  running->state = state;
  change(running->context, scheduler);
}

static void enter() {
  body(arguments);
  leave(ENDED);
}

// Ends the launch with a message.
__attribute__((noinline, cold, unused)) static void fail(Place place, const char* what) {
  if (!*failure)
    snprintf(failure, sizeof failure, "%s:%d: block %u, thread %u: %s", place.file, place.line,
             blockIdx.x, threadIdx.x, what);
  leave(ENDED);
}

__attribute__((noinline, unused)) static void barrier(Place place) {
  running->place = place;
  leave(AT_BARRIER);
}

// Waits for the lanes of `mask`; each gives a word and gets that of lane `source`.
__attribute__((noinline, unused)) static Thread* meet(Place place, unsigned mask, Word given,
                                                      unsigned source) {
  Thread* self = running;
  if (!(mask >> threadIdx.x % warpSize & 1))
    fail(place, "expected a mask with the thread's lane, got another");
  self->place = place;
  self->mask = mask;
  self->given = given;
  self->source = source;
  leave(IN_WARP);
  return self;
}

// Lets the lanes of a warp go on that all wait in one call, with what they give each other. A word
// from a lane that takes no part is 0xFF bytes.
static bool release_warp(unsigned first, unsigned end) {
  bool any = false;
  for (unsigned i = first; i < end; ++i) {
    if (threads[i].state != IN_WARP) continue;
    const unsigned mask = threads[i].mask;
    const Place place = threads[i].place;
    bool all = true;
    unsigned votes = 0;
    for (unsigned j = first; j < end; ++j) {
      const Thread& other = threads[j];
      if (!(mask >> (j - first) & 1) || other.state == ENDED) continue;
      all = all && other.state == IN_WARP && other.mask == mask && same_place(other.place, place);
      votes |= unsigned(other.given != 0) << (j - first);
    }
    if (!all) continue;
    for (unsigned j = first; j < end; ++j) {
      Thread& one = threads[j];
      if (!(mask >> (j - first) & 1) || one.state != IN_WARP) continue;
      const unsigned from = first + one.source;
      const bool there = from < end && mask >> one.source & 1 && threads[from].state != ENDED;
      one.received = there ? threads[from].given : ~0ull;
      one.votes = votes;
    }
    for (unsigned j = first; j < end; ++j)
      if (mask >> (j - first) & 1 && threads[j].state == IN_WARP) threads[j].state = READY;
    any = true;
  }
  return any;
}

// Says which two threads of a block cannot go on together.
static void stuck(unsigned count) {
  unsigned waits = 0;
  while (threads[waits].state == ENDED) ++waits;
  unsigned other = count;
  for (unsigned i = 0; i < count; ++i)
    if (threads[i].state != threads[waits].state || threads[i].mask != threads[waits].mask ||
        !same_place(threads[i].place, threads[waits].place))
      other = i;
  char rest[160] = "others of its warp never come";
  if (other < count && threads[other].state == ENDED)
    snprintf(rest, sizeof rest, "thread %u has ended", other);
  else if (other < count)
    snprintf(rest, sizeof rest, "thread %u waits at %s:%d", other, threads[other].place.file,
             threads[other].place.line);
  snprintf(failure, sizeof failure, "%s:%d: block %u: thread %u waits for the others, but %s",
           threads[waits].place.file, threads[waits].place.line, blockIdx.x, waits, rest);
}

static void run_block(unsigned count) {
  if (__start_shim_shared)
    __builtin_memset(__start_shim_shared, 0xFF, __stop_shim_shared - __start_shim_shared);
  for (unsigned i = 0; i < count; ++i) {
    threads[i].state = READY;
    threads[i].mask = 0;
    threads[i].place = {"", 0};
    *reinterpret_cast<Word*>(stacks[1 + i]) = CANARY;
    prepare(i);
  }
  for (unsigned phase = blockIdx.x;; ++phase) {
    unsigned ended = 0, at_barrier = 0;
    bool same = true;
    for (unsigned turn = 0; turn < count; ++turn) {
      const unsigned i = phase & 1 ? count - 1 - turn : turn;
      if (threads[i].state == READY) {
        running = &threads[i];
        threadIdx.x = i;
        change(scheduler, running->context);
        if (*reinterpret_cast<Word*>(stacks[1 + i]) != CANARY)
          snprintf(failure, sizeof failure, "expected at most %u bytes of local memory, got more",
                   STACK);
        if (*failure) return;
      }
    }
    for (unsigned i = 0; i < count; ++i) {
      ended += threads[i].state == ENDED;
      at_barrier += threads[i].state == AT_BARRIER;
      same = same && same_place(threads[i].place, threads[0].place);
    }
    if (ended == count) break;
    bool any = at_barrier == count && same;
    if (any)
      for (unsigned i = 0; i < count; ++i) threads[i].state = READY;
    for (unsigned first = 0; first < count; first += warpSize)
      any |= release_warp(first, first + warpSize < count ? first + warpSize : count);
    if (!any) return stuck(count);
  }
}

// Runs a kernel on a grid. Gives what went wrong, or null.
__attribute__((unused)) static const char* run_grid(unsigned blocks, unsigned count,
                                                    void (*kernel)(void*), void* given) {
  *failure = 0;
  body = kernel;
  arguments = given;
  gridDim.x = blocks;
  blockDim.x = count;
  for (blockIdx.x = 0; blockIdx.x < blocks && !*failure; ++blockIdx.x) run_block(count);
  return *failure ? failure : nullptr;
}

}  // namespace shim
