package directory

import (
	"context"
	"fmt"
	"testing"
)

// large is about the size of FOLIO: 3,000 permissions, 300 sets.
func large() []PermissionSet {
	var list []PermissionSet
	for i := range 300 {
		set := PermissionSet{Name: fmt.Sprintf("ui-module-%03d.settings.all", i)}
		for j := range 10 {
			name := fmt.Sprintf("module-%03d.collection-%d.item.get", i, j)
			list = append(list, PermissionSet{Name: name})
			set.Sub = append(set.Sub, name)
		}
		list = append(list, set)
	}
	return list
}

func largeCache(b *testing.B) (*Cache, []string) {
	lib := newLibrary("diku")
	lib.sets["diku"] = large()
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("module-%03d.collection-3.item.get", 13*i))
	}
	for id := range 1000 {
		lib.user("diku", fmt.Sprintf("0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a%04d", id), names...)
	}
	c, _ := newCache(b, &Cache{Source: lib})
	return c, names
}

func BenchmarkAccessInMemory(b *testing.B) {
	c, names := largeCache(b)
	const id = "0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a0007"
	access(b, c, "diku", id)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		a, err := c.Access(ctx, "diku", id)
		if err != nil || a.Ordinary.All(names[:2]) != "" {
			b.Fatal("wrong answer")
		}
	}
}

func BenchmarkAccessFromSource(b *testing.B) {
	c, _ := largeCache(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("0b0b5c3e-7f9b-4a53-9a51-3f2f6f6a%04d", i%1000)
		c.ForgetUser("diku", id)
		access(b, c, "diku", id)
	}
}

func BenchmarkExpand(b *testing.B) {
	c, names := largeCache(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Expand(ctx, "diku", names); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNormalName(b *testing.B) {
	for _, name := range []string{"diku_admin", "Diku_Admin", "Åsa Öström"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := NormalName(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
