package main

import (
	"io/fs"
	"math"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// tune sets what Go cannot know of the program. What the environment says wins.
// root is the machine's file system.
func tune(environ func(string) (string, bool), root fs.FS) {
	// What lives is a few megabytes and each request leaves a few kilobytes, so
	// at Go's default the collector would run many times a second.
	if _, set := environ("GOGC"); !set {
		debug.SetGCPercent(400)
	}
	// While the writer waits for the disk it holds one of Go's processors until
	// the runtime notices, and it waits most of the time. One more lets every
	// core serve meanwhile: on two cores, a third more refreshes a second.
	if _, set := environ("GOMAXPROCS"); !set {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	// A container that takes more than it may have is killed. With the limit
	// known, the collector works harder before that.
	if _, set := environ("GOMEMLIMIT"); !set {
		if limit, ok := memoryLimit(root); ok {
			debug.SetMemoryLimit(limit)
		}
	}
}

// memoryLimit is what the collector should keep to, in bytes: nine tenths of the
// least that the cgroup and those above it may have. The rest is for what Go does
// not count. It returns false if nothing is limited, as on a whole machine.
func memoryLimit(root fs.FS) (int64, bool) {
	// Version 2 is the line 0::/path; version 1 names its controllers.
	lines, _ := fs.ReadFile(root, "proc/self/cgroup")
	least := int64(math.MaxInt64)
	look := func(dir, within, file string) {
		for ; ; within = path.Dir(within) {
			text, err := fs.ReadFile(root, path.Join(dir, within, file))
			if n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 {
				least = min(least, n)
			}
			if within == "/" || within == "." {
				return
			}
		}
	}
	for line := range strings.Lines(string(lines)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) < 3:
		case fields[0] == "0" && fields[1] == "":
			look("sys/fs/cgroup", path.Clean(fields[2]), "memory.max")
		case fields[1] == "memory":
			look("sys/fs/cgroup/memory", path.Clean(fields[2]), "memory.limit_in_bytes")
		}
	}
	// Version 1 writes a number close to the largest for "unlimited".
	return least / 10 * 9, least < 1<<60
}
