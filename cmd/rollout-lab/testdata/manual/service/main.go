// The program that the manual calls my-service: it listens where --addr or PORT says.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
)

func main() {
	addr := flag.String("addr", ":"+os.Getenv("PORT"), "host:port to listen on")
	flag.Parse()
	answer := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	mux := http.NewServeMux()
	for _, path := range []string{"/{$}", "/hello", "/healthz"} {
		mux.HandleFunc(path, answer)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(*addr, mux))
	os.Exit(1)
}
