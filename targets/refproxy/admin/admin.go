// Package admin is how the programs of the reference target answer their operator: JSON in every
// answer, errors and their hints included, and nothing for those who do not have the operator's
// token. It knows none of their questions.
package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Error is an error with the status that it is answered with, and advice for who asked.
type Error struct {
	Status     int
	Text, Hint string
}

func (e *Error) Error() string { return e.Text }

// Bad is what is wrong with a request itself.
func Bad(hint, format string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// Question is something that an operator can ask or do, at a path of its own.
type Question struct {
	Method, Path string
	// Answer returns what is written as JSON. An error that is no *Error is answered with 500.
	Answer func(r *http.Request) (any, error)
}

// TokenVariable is the environment variable that holds the operator's token.
const TokenVariable = "REFPROXY_ADMIN_TOKEN"

// TokenSize is the length that a token has at least, in bytes.
const TokenSize = 16

// HealthPath answers everybody with 200, and says nothing.
const HealthPath = "/healthz"

// Authorization is the header of that name by which an operator shows the token.
func Authorization(token string) string { return "Bearer " + token }

// Handler answers the questions of those who have the token, and everything else that they ask
// with what there is to be asked. Who does not have it is told of nothing but HealthPath.
func Handler(token string, questions []Question) http.Handler {
	answers := answers(questions)
	want := sha256.Sum256([]byte(Authorization(token)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == HealthPath {
			WriteJSON(w, http.StatusOK, struct{}{})
			return
		}
		// Sums are of one length, so that the time that this takes says nothing of the token.
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, &Error{
				http.StatusUnauthorized, "this is the operator's", "send Authorization: Bearer TOKEN, as " + TokenVariable + " has it",
			})
			return
		}
		answers.ServeHTTP(w, r)
	})
}

func answers(questions []Question) http.Handler {
	mux := http.NewServeMux()
	paths := make([]string, 0, len(questions))
	for _, q := range questions {
		paths = append(paths, q.Path)
		mux.HandleFunc(q.Path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != q.Method {
				w.Header().Set("Allow", q.Method)
				writeError(w, &Error{
					http.StatusMethodNotAllowed, fmt.Sprintf("%s does not take %s", q.Path, r.Method), "use " + q.Method,
				})
				return
			}
			answer, err := q.Answer(r)
			if err != nil {
				writeError(w, err)
				return
			}
			WriteJSON(w, http.StatusOK, answer)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{
			http.StatusNotFound, fmt.Sprintf("no such path: %s", r.URL.Path), "there are " + strings.Join(paths, ", "),
		})
	})
	return mux
}

// Flag reads a parameter that is true or false.
func Flag(r *http.Request, name string, otherwise bool) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	is, err := strconv.ParseBool(text)
	if err != nil {
		return false, Bad("use true or false", "%s is %q", name, text)
	}
	return is, nil
}

// Text reads a parameter that must be there.
func Text(r *http.Request, name string) (string, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return "", Bad("add ?"+name+"=...", "%s is missing", name)
	}
	return text, nil
}

func writeError(w http.ResponseWriter, err error) {
	answer := struct {
		Error string `json:"error"`
		Hint  string `json:"hint,omitempty"`
	}{Error: err.Error()}
	status := http.StatusInternalServerError
	if e, ok := errors.AsType[*Error](err); ok {
		status, answer.Hint = e.Status, e.Hint
	}
	WriteJSON(w, status, answer)
}

// WriteJSON answers with a document.
func WriteJSON(w http.ResponseWriter, status int, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here means that the client is gone: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(answer)
}
