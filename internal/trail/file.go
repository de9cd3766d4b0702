package trail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/counterfoil/counterfoil/internal/audit"
)

// File is a sink that appends JSON Lines. A file that has reached MaxBytes is
// renamed to PATH.N, after the first record of the next, and never deleted.
type File struct {
	Path     string
	MaxBytes int64
	// Sync has each batch on the disk before it counts as delivered.
	Sync bool

	file *os.File
	size int64
}

// Deliver appends all or nothing.
func (f *File) Deliver(_ context.Context, records []audit.Record) (int, error) {
	if len(records) == 0 {
		return 0, nil
	}
	if err := f.open(); err != nil {
		return 0, err
	}
	if f.size >= f.MaxBytes {
		if err := f.rotate(records[0].N); err != nil {
			return 0, err
		}
	}
	var lines []byte
	var err error
	for i := range records {
		if lines, err = records[i].AppendLine(lines); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(lines)
	if err == nil && f.Sync {
		err = f.file.Sync()
	}
	if err != nil {
		// Half a line would spoil the next one. If it cannot be cut off now, that
		// is done when the file is opened again.
		if n > 0 {
			_ = f.file.Truncate(f.size)
		}
		f.Close()
		return 0, fmt.Errorf("audit.file: %w", err)
	}
	f.size += int64(n)
	return len(records), nil
}

// open appends after the last whole line: a crash may have left half of one, and
// its event comes again.
func (f *File) open() error {
	if f.file != nil {
		if there, err := os.Stat(f.Path); err == nil {
			if mine, err := f.file.Stat(); err == nil && os.SameFile(there, mine) {
				return nil
			}
		}
		f.Close() // somebody has moved it away, as logrotate does
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	size, err := wholeLines(file)
	if err == nil {
		err = file.Truncate(size)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit.file: %w", err), file.Close())
	}
	f.file, f.size = file, size
	return nil
}

// wholeLines is where the last line ends.
func wholeLines(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errors.New("is no regular file")
	}
	block := make([]byte, 64<<10)
	for end := info.Size(); end > 0; {
		begin := max(0, end-int64(len(block)))
		n, err := file.ReadAt(block[:end-begin], begin)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if at := bytes.LastIndexByte(block[:n], '\n'); at >= 0 {
			return begin + int64(at) + 1, nil
		}
		end = begin
	}
	return 0, nil
}

func (f *File) rotate(n int64) error {
	aside := fmt.Sprintf("%s.%d", f.Path, n)
	if _, err := os.Stat(aside); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("audit.file: %s is in the way", aside)
	}
	if err := os.Rename(f.Path, aside); err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	f.Close()
	return f.open()
}

// Close closes the file; the next delivery opens it again.
func (f *File) Close() {
	if f.file != nil {
		f.file.Close()
		f.file = nil
	}
}
