package main

import (
	"testing"
	"testing/fstest"
)

func TestTheMemoryLimitIsThatOfTheCgroup(t *testing.T) {
	const mebibyte = 1 << 20
	for _, one := range []struct {
		name  string
		files map[string]string
		want  int64 // 0 is none
	}{
		{"no cgroups", nil, 0},
		{"version 2, container's own namespace", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 * mebibyte},
		{"version 2, unlimited", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 2, a limit above the own group", map[string]string{
			"proc/self/cgroup":                                                    "0::/system.slice/counterfoil.service\n",
			"sys/fs/cgroup/system.slice/memory.max":                               "134217728\n",
			"sys/fs/cgroup/system.slice/counterfoil.service/memory.max":           "268435456\n",
			"sys/fs/cgroup/system.slice/counterfoil.service/child/memory.max":     "1\n",
			"sys/fs/cgroup/system.slice/anothers.service/memory.max":              "1\n",
			"sys/fs/cgroup/system.slice/counterfoil.service/memory.max.untouched": "1\n",
		}, 128 * mebibyte},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n", "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "536870912\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 512 * mebibyte},
		{"version 1, unlimited", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"what nobody has written like that", map[string]string{"proc/self/cgroup": "0::\nx\n\n1:memory\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		t.Run(one.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range one.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			limit, ok := memoryLimit(root)
			if ok != (one.want != 0) || ok && limit != one.want/10*9 {
				t.Errorf("is %d, %v; want nine tenths of %d", limit, ok, one.want)
			}
		})
	}
}
