// Package upstream is the service behind the reference proxy. It answers every request
// with a line that names what arrived, so that a client can tell a whole and true answer
// from one that was cut short or mixed up. It decides about nobody's access.
package upstream

import (
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Answer is the exact body that the upstream answers a request with: the method, the
// path, the length of the request's body and its IEEE CRC-32 in eight hexadecimal digits,
// with one space between them and a newline at the end.
func Answer(method, path string, body []byte) string {
	return string(answer(method, path, int64(len(body)), crc32.ChecksumIEEE(body)))
}

func answer(method, path string, length int64, sum uint32) []byte {
	line := make([]byte, 0, len(method)+len(path)+32)
	line = append(line, method...)
	line = append(line, ' ')
	line = append(line, path...)
	line = append(line, ' ')
	line = strconv.AppendInt(line, length, 10)
	line = fmt.Appendf(line, " %08x\n", sum)
	return line
}

// Handler answers every request, after the given latency, which counts from when the
// request's body was read. A request that is cancelled meanwhile gets no answer.
func Handler(latency time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := crc32.NewIEEE()
		length, err := io.Copy(sum, r.Body)
		if err != nil {
			// The sum of half a body would be a wrong answer that looks like a right one.
			panic(http.ErrAbortHandler)
		}
		if latency > 0 {
			timer := time.NewTimer(latency)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		line := answer(r.Method, r.URL.Path, length, sum.Sum32())
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(line)))
		// An error here means that the client is gone: there is nobody to tell.
		_, _ = w.Write(line)
	})
}
