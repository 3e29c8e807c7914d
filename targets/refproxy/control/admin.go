package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Admin serves the operator: JSON in every answer, errors included.
//
//	GET  /v1/status
//	POST /v1/generation[?bad=true]   publish the next generation, or a bad one
//	POST /v1/revoke?session=ID
//	POST /v1/stall, /v1/unstall      silence the streams, or let them go on
//
// Each POST but revoke answers with the status after it; revoke answers with the session
// and the version of the records that says that it is revoked.
func (p *Plane) Admin() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, serve func(r *http.Request) (any, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method {
				w.Header().Set("Allow", method)
				writeError(w, &adminError{
					status: http.StatusMethodNotAllowed,
					text:   fmt.Sprintf("%s does not take %s", path, r.Method), hint: "use " + method,
				})
				return
			}
			answer, err := serve(r)
			if err != nil {
				writeError(w, err)
				return
			}
			writeJSON(w, http.StatusOK, answer)
		})
	}
	handle(http.MethodGet, "/v1/status", func(*http.Request) (any, error) { return p.Status(), nil })
	handle(http.MethodPost, "/v1/generation", p.adminPublish)
	handle(http.MethodPost, "/v1/revoke", p.adminRevoke)
	handle(http.MethodPost, "/v1/stall", func(*http.Request) (any, error) {
		p.Stall(true)
		return p.Status(), nil
	})
	handle(http.MethodPost, "/v1/unstall", func(*http.Request) (any, error) {
		p.Stall(false)
		return p.Status(), nil
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &adminError{
			status: http.StatusNotFound, text: fmt.Sprintf("no such path: %s", r.URL.Path),
			hint: "there are /v1/status, /v1/generation, /v1/revoke, /v1/stall and /v1/unstall",
		})
	})
	return mux
}

func (p *Plane) adminPublish(r *http.Request) (any, error) {
	bad := false
	if text := r.URL.Query().Get("bad"); text != "" {
		var err error
		if bad, err = strconv.ParseBool(text); err != nil {
			return nil, &adminError{
				status: http.StatusBadRequest, text: fmt.Sprintf("bad is %q", text), hint: "use true or false",
			}
		}
	}
	p.Publish(bad)
	return p.Status(), nil
}

func (p *Plane) adminRevoke(r *http.Request) (any, error) {
	session := r.URL.Query().Get("session")
	if session == "" {
		return nil, &adminError{
			status: http.StatusBadRequest, text: "session is missing", hint: "add ?session=ID",
		}
	}
	version, err := p.Revoke(session)
	if errors.Is(err, ErrNoSession) {
		return nil, &adminError{status: http.StatusNotFound, text: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return struct {
		Session string `json:"session"`
		Version uint64 `json:"version"`
	}{session, version}, nil
}

// adminError is an error with the status that it is answered with.
type adminError struct {
	status     int
	text, hint string
}

func (e *adminError) Error() string { return e.text }

func writeError(w http.ResponseWriter, err error) {
	answer := struct {
		Error string `json:"error"`
		Hint  string `json:"hint,omitempty"`
	}{Error: err.Error()}
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*adminError](err); ok {
		status, answer.Hint = e.status, e.hint
	}
	writeJSON(w, status, answer)
}

func writeJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the client is gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(answer)
}
