package record

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// Masked is what stands for a secret wherever one would be written.
const Masked = "***"

// ShortestSecret is how many bytes a secret has at least. A shorter one could not be masked
// without masking much that is none.
const ShortestSecret = 4

// Mask replaces secrets. Nil, and one of no secrets, replaces nothing.
type Mask struct {
	secrets []string // the longest first: one may be a part of another
	plain   *strings.Replacer
	json    *strings.Replacer
}

// NewMask makes a mask of secrets. Empty ones are left out.
func NewMask(secrets ...string) *Mask {
	m := &Mask{}
	for _, s := range secrets {
		if s != "" && !slices.Contains(m.secrets, s) {
			m.secrets = append(m.secrets, s)
		}
	}
	slices.SortFunc(m.secrets, func(a, b string) int { return len(b) - len(a) })
	var plain, quoted []string
	for _, s := range m.secrets {
		plain = append(plain, s, Masked)
		text, err := json.Marshal(s)
		if err != nil {
			panic("record: a text: " + err.Error()) // every text can be one of JSON's
		}
		quoted = append(quoted, string(text[1:len(text)-1]), Masked, s, Masked)
	}
	m.plain, m.json = strings.NewReplacer(plain...), strings.NewReplacer(quoted...)
	return m
}

// With is the mask of these secrets too.
func (m *Mask) With(secrets ...string) *Mask {
	if m != nil {
		secrets = append(slices.Clone(m.secrets), secrets...)
	}
	return NewMask(secrets...)
}

func (m *Mask) empty() bool { return m == nil || len(m.secrets) == 0 }

// Text is a text without the secrets in it, nor the beginning of one at its end: texts are
// cut to a length.
func (m *Mask) Text(s string) string {
	if m.empty() || s == "" {
		return s
	}
	s = m.plain.Replace(s)
	for _, secret := range m.secrets {
		for n := min(len(secret)-1, len(s)); n >= 2*ShortestSecret; n-- {
			if strings.HasSuffix(s, secret[:n]) {
				return s[:len(s)-n] + Masked
			}
		}
	}
	return s
}

// document is a document of JSON without the secrets in it.
func (m *Mask) document(text []byte) []byte {
	if m.empty() {
		return text
	}
	return []byte(m.json.Replace(string(text)))
}

// Writer writes to w what is written to it, without the secrets in it. A secret that is
// written in two parts is not found.
func (m *Mask) Writer(w io.Writer) io.Writer {
	if m.empty() {
		return w
	}
	return &maskedWriter{m, w}
}

type maskedWriter struct {
	mask *Mask
	to   io.Writer
}

func (w *maskedWriter) Write(p []byte) (int, error) {
	if _, err := w.to.Write(w.mask.document(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
