// Five leaks among things that only look like leaks, in Go that works with C's memory: see scenario.json.
package main

/*
#cgo CFLAGS: -g -O2
#include "site.h"

#define TAKES(site) \
	static void* take_##site(size_t size) { return AT(site, size, calloc(1, size)); }
TAKES(note)
TAKES(rule)
TAKES(peer)
TAKES(entry)
TAKES(table)
TAKES(cached)
TAKES(job)
TAKES(chunk)
TAKES(request)
TAKES(buffer)

static void* extend_history(void* history, size_t size, size_t more) {
	return AT(history, more, realloc(history, size + more));
}
static int now(void) { return tick_now; }
static int later(double low, double high) { return tick_now + (int)((low + (high - low) * toss()) / kTick); }
static double seconds(void) { return ticks * kTick; }
static double per(int site, double seconds) { return sites[site].rate * seconds / sites[site].size; }
*/
import "C"

import (
	"os"
	"unsafe"
)

// What Go holds of C.
type block struct {
	at   unsafe.Pointer
	size C.size_t
	site C.int
}

func take(site C.int, get func(C.size_t) unsafe.Pointer) block {
	size := C.some_size(site)
	return block{get(size), size, site}
}

func (b block) free() {
	if b.at != nil {
		C.went(b.site, C.int64_t(b.size))
		C.free(b.at)
	}
}

func times(site C.int, factor C.double, do func()) {
	for i := C.due(site, factor); i > 0; i-- {
		do()
	}
}

func slot(count int) int {
	return int(float64(C.toss()) * float64(count))
}

func main() {
	arguments := make([]*C.char, len(os.Args))
	for i, word := range os.Args {
		arguments[i] = C.CString(word)
	}
	C.begin(C.int(len(arguments)), &arguments[0])

	sessions := map[C.int][]block{}
	cache := map[C.double]block{}
	type history struct {
		at   unsafe.Pointer
		size C.size_t
	}
	histories := make([]history, 100)
	jobs := make([]block, int(C.per(C.site_job, 1)))
	bounded := make([]block, int(C.per(C.site_cached, 0.4*C.seconds())))
	var tables, pool, requests []block
	cached, burst, capacity := 0, C.int(0), C.double(0)
	for {
		for _, request := range requests {
			request.free()
		}
		requests = requests[:0]
		times(C.site_request, 1, func() {
			requests = append(requests, take(C.site_request, func(n C.size_t) unsafe.Pointer { return C.take_request(n) }))
		})
		// Leak, steady: it is said, and forgotten.
		times(C.site_note, 1, func() { C.take_note(C.some_size(C.site_note)) })
		// Leak, in bursts: the old rules' memory is C's.
		if C.now() >= burst {
			for i := C.per(C.site_rule, 0.6); i > 0; i-- {
				C.take_rule(C.some_size(C.site_rule))
			}
			burst = C.later(0.3, 0.9)
		}
		// Leak, one a connection: the peer's name. The buffer is freed.
		times(C.site_peer, 1, func() {
			until := C.later(0.05, 0.5)
			C.take_peer(C.some_size(C.site_peer))
			sessions[until] = append(sessions[until], take(C.site_buffer, func(n C.size_t) unsafe.Pointer { return C.take_buffer(n) }))
		})
		for _, buffer := range sessions[C.now()] {
			buffer.free()
		}
		delete(sessions, C.now())
		// Leak: a cache that nobody bounds.
		times(C.site_entry, 1, func() {
			cache[C.toss()] = take(C.site_entry, func(n C.size_t) unsafe.Pointer { return C.take_entry(n) })
		})
		// Leak: what is appended to, for ever.
		times(C.site_history, 1, func() {
			h, more := &histories[slot(len(histories))], C.some_size(C.site_history)
			h.at = C.extend_history(h.at, h.size, more)
			h.size += more
		})
		// None: made at the start, and kept.
		if C.progress() < 0.1 {
			times(C.site_table, 10, func() {
				tables = append(tables, take(C.site_table, func(n C.size_t) unsafe.Pointer { return C.take_table(n) }))
			})
		}
		// None: a cache that is full after a while, the oldest goes.
		times(C.site_cached, 1, func() {
			bounded[cached%len(bounded)].free()
			bounded[cached%len(bounded)] = take(C.site_cached, func(n C.size_t) unsafe.Pointer { return C.take_cached(n) })
			cached++
		})
		// None: jobs that take a second, more or less.
		times(C.site_job, 1, func() {
			job := &jobs[slot(len(jobs))]
			job.free()
			*job = take(C.site_job, func(n C.size_t) unsafe.Pointer { return C.take_job(n) })
		})
		// None: a pool that doubles while the load grows.
		if size := C.pool_wants(capacity, C.int(len(pool))); size > 0 {
			pool = append(pool, block{C.take_chunk(size), size, C.site_chunk})
			capacity += C.double(size)
		}
		if !C.next_tick() {
			break
		}
	}
	C.tell_truth()
	os.Exit(0)
}
