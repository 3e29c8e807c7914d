package credential

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrNoKeys: a key set holds no key that can verify a token.
var ErrNoKeys = errors.New("key set holds no signing key")

// KeySet is a set of public keys as published, in the form of RFC 7517 and RFC 8037.
type KeySet struct {
	Keys []Key `json:"keys"`
}

// Key is one public key of a set.
type Key struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	X         string `json:"x"`
}

// Verifier verifies tokens against one key set. It keeps no verdict: every call does the
// whole work. It may be used concurrently.
type Verifier struct {
	keys   map[string]ed25519.PublicKey
	parser *jwt.Parser
}

// NewVerifier returns a verifier for the Ed25519 keys of a set; now tells the time that
// expiry is judged by. Keys of other kinds are passed over. The error wraps ErrNoKeys
// when none is left.
func NewVerifier(set KeySet, now func() time.Time) (*Verifier, error) {
	keys := make(map[string]ed25519.PublicKey, len(set.Keys))
	for _, k := range set.Keys {
		if k.Type != "OKP" || k.Curve != "Ed25519" {
			continue
		}
		if k.ID == "" {
			return nil, errors.New("key set holds a key without an id")
		}
		raw, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
		if len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("key %s has %d bytes, want %d", k.ID, len(raw), ed25519.PublicKeySize)
		}
		keys[k.ID] = raw
	}
	if len(keys) == 0 {
		return nil, ErrNoKeys
	}
	return &Verifier{keys: keys, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(IssuerName),
		jwt.WithAudience(Audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), // not in the future, when it is there: see lifetime
		jwt.WithTimeFunc(now),
	)}, nil
}

// Session verifies a token and returns the session that it was issued to. It does not say
// whether that session is active.
func (v *Verifier) Session(token string) (string, error) {
	var claims lifetime
	if _, err := v.parser.ParseWithClaims(token, &claims, v.key); err != nil {
		return "", err
	}
	if claims.Subject == "" {
		return "", errors.New("token names no session")
	}
	return claims.Subject, nil
}

// lifetime are claims that say how long their token counts, and not for too long.
type lifetime struct{ jwt.RegisteredClaims }

// Validate is called by the parser, after its own checks.
func (c lifetime) Validate() error {
	if c.IssuedAt == nil {
		return errors.New("token does not say when it was issued")
	}
	if c.ExpiresAt != nil && c.ExpiresAt.Sub(c.IssuedAt.Time) > MaxLife {
		return fmt.Errorf("token counts for longer than %v", MaxLife)
	}
	return nil
}

func (v *Verifier) key(token *jwt.Token) (any, error) {
	// RFC 7515, 4.1.11: what must be understood, and is not, makes a token invalid. The parser
	// does not look.
	if _, ok := token.Header["crit"]; ok {
		return nil, errors.New("header has extensions that are not understood (crit)")
	}
	kid, _ := token.Header["kid"].(string)
	key, ok := v.keys[kid]
	if !ok {
		return nil, fmt.Errorf("no key %q in the key set", kid)
	}
	return key, nil
}
