//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package client

import (
	"errors"
	"os"
)

// tryLock refuses: two processes that renew one session at once end it.
func tryLock(*os.File) (bool, error) {
	return false, errors.New("FileStore needs flock, which this system does not have")
}
