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
)

// worker is one client with one connection. It sends the bytes of a request
// and reads an answer, with as little work of its own as possible, because it
// shares its cores with what is measured.
type worker struct {
	conn net.Conn
	in   *bufio.Reader
	body []byte
	// cookies are what the last answer set, for those who asked for them.
	cookies     []string
	wantCookies bool
}

func dial(address string) (*worker, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &worker{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), body: make([]byte, 0, 4<<10)}, nil
}

// again replaces a connection that the server closed, if it lets anybody in.
func (w *worker) again(address string) {
	_ = w.conn.Close()
	if fresh, err := dial(address); err == nil {
		w.conn, w.in = fresh.conn, fresh.in
	}
}

// do sends a whole request and returns status and body of the answer. The
// body is good until the next call.
func (w *worker) do(request []byte) (status int, body []byte, err error) {
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := w.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, fmt.Errorf("no status line: %w", err)
	}
	if len(line) < 12 {
		return 0, nil, errors.New("no status line")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, err
	}
	length, chunked := 0, false
	w.cookies = w.cookies[:0]
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
		} else if value, ok := header(line, "Set-Cookie: "); ok && w.wantCookies {
			w.cookies = append(w.cookies, string(value))
		}
	}
	if chunked {
		err = w.readChunks()
		return status, w.body, err
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

func (w *worker) readChunks() error {
	w.body = w.body[:0]
	for {
		line, err := w.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		from := len(w.body)
		w.body = slices.Grow(w.body, int(size))[:from+int(size)]
		if _, err := io.ReadFull(w.in, w.body[from:]); err != nil {
			return err
		}
		if _, err := w.in.Discard(2); err != nil || size == 0 {
			return err
		}
	}
}

// client is what one worker does again and again. It prepares the next request
// from the answer to the last.
type client func(status int, body []byte) (request []byte, err error)

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
