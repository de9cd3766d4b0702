package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// worker is one client with one connection. It sends the bytes of a request
// and reads an answer, with as little work of its own as possible, because it
// shares its cores with what is measured.
type worker struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte
}

func dial(address string) (*worker, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &worker{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), body: make([]byte, 0, 4<<10)}, nil
}

// do sends a whole request and returns status and body of the answer. The
// body is good until the next call.
func (w *worker) do(request []byte) (status int, body []byte, err error) {
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := w.in.ReadSlice('\n')
	if err != nil || len(line) < 12 {
		return 0, nil, errors.Join(errors.New("no status line"), err)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length, chunked := 0, false
	for {
		if line, err = w.in.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		if len(line) <= 2 {
			break
		}
		if value, ok := header(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, nil, err
			}
		} else if _, ok := header(line, "Transfer-Encoding: chunked"); ok {
			chunked = true
		}
	}
	if chunked {
		return status, nil, w.skipChunks()
	}
	w.body = slices.Grow(w.body[:0], length)[:length]
	_, err = io.ReadFull(w.in, w.body)
	return status, w.body, err
}

func header(line []byte, name string) (value []byte, ok bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

func (w *worker) skipChunks() error {
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return err
		}
		if _, err := w.in.Discard(int(size) + 2); err != nil || size == 0 {
			return err
		}
	}
}

// client is what one worker does again and again. It prepares the next request
// from the answer to the last.
type client func(status int, body []byte) (request []byte, err error)

// figures are what one run measured.
type figures struct {
	perSecond float64
	p50, p99  time.Duration
	requests  int
}

// run drives the clients against address for a time, each in a closed loop on
// its own connection, and measures what comes after the warm-up.
func run(address string, clients []client, warmUp, measure time.Duration) (figures, error) {
	var group sync.WaitGroup
	latencies := make([][]time.Duration, len(clients))
	faults := make([]error, len(clients))
	begin := time.Now()
	from, until := begin.Add(warmUp), begin.Add(warmUp+measure)
	for i, next := range clients {
		group.Go(func() { latencies[i], faults[i] = loop(address, next, from, until) })
	}
	group.Wait()
	if err := errors.Join(faults...); err != nil {
		return figures{}, err
	}
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return figures{}, errors.New("nothing was answered")
	}
	slices.Sort(all)
	return figures{
		perSecond: float64(len(all)) / measure.Seconds(), requests: len(all),
		p50: all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

func loop(address string, next client, from, until time.Time) ([]time.Duration, error) {
	w, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer w.conn.Close()
	took := make([]time.Duration, 0, 100_000)
	status, body := 0, []byte(nil)
	for {
		request, err := next(status, body)
		if err != nil {
			return took, err
		}
		sent := time.Now()
		if !sent.Before(until) {
			return took, nil
		}
		if status, body, err = w.do(request); err != nil {
			return took, fmt.Errorf("request: %w", err)
		}
		if !sent.Before(from) {
			took = append(took, time.Since(sent))
		}
	}
}

// text writes an HTTP/1.1 request.
func text(method, path, address, headers string, body []byte) []byte {
	out := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, address, headers)
	if method == "POST" {
		out = fmt.Appendf(out, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	out = append(out, "\r\n"...)
	return append(out, body...)
}

// field finds a text member of a flat JSON object whose values need no
// escaping, as tokens do not.
func field(body []byte, name string) []byte {
	_, rest, ok := bytes.Cut(body, []byte(`"`+name+`":"`))
	if !ok {
		return nil
	}
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return value
}
