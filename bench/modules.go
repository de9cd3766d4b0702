package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/gateway"
)

// manyModules are 100 descriptors of the size of FOLIO's, by the figures of
// okapi-core/src/test/resources/modules2.json in folio-org/okapi: 1,405 routes,
// of which 664 are literal, 726 have braces and 15 a star; 336 lend permissions,
// two in the middle, 14 at the ninth decile and 42 at most. It returns a path
// for each route, too.
func manyModules() (modules []*gateway.ModuleDescriptor, paths []string) {
	const count, total, literal, stars = 100, 1405, 664, 15
	lending := 0
	for m := range count {
		d := &gateway.ModuleDescriptor{ID: fmt.Sprintf("mod-bench%02d-1.%d.0", m, m)}
		i := gateway.InterfaceDescriptor{ID: fmt.Sprintf("bench%02d", m), Version: "1.0"}
		for r := m; r < total; r += count {
			resource := fmt.Sprintf("/storage%02d/resources%d", m, r/count)
			pattern, path := resource+"/{id}", resource+"/9eb67301-6f6e-468f-9b1a-6134dc39a684"
			switch {
			case r < literal:
				pattern, path = resource, resource
			case r < literal+stars:
				pattern, path = resource+"/*", resource+"/a/b"
			case r%7 == 0:
				pattern, path = pattern+"/items/{itemId}", path+"/items/1"
			}
			e := gateway.RoutingEntry{Methods: []string{"GET"}, PathPattern: pattern, PermissionsRequired: []string{"orders.collection.get"}}
			if r*336/total != (r+1)*336/total {
				e.ModulePermissions = lentPermissions(lending)
				lending++
			}
			i.Handlers, paths = append(i.Handlers, e), append(paths, path)
		}
		d.Provides = []gateway.InterfaceDescriptor{i}
		modules = append(modules, d)
	}
	return modules, paths
}

func lentPermissions(n int) []string {
	size := 2
	switch {
	case n == 0:
		size = 42
	case n%10 == 1:
		size = 14
	case n%3 == 0:
		size = 1
	case n%4 == 1:
		size = 5
	}
	list := make([]string, size)
	for i := range list {
		list[i] = fmt.Sprintf("inventory-storage.%s%d.item.get", strings.Repeat("x", n%7), i)
	}
	return list
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
