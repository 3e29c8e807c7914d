// Package credential mints and verifies the session tokens of the reference proxy:
// JSON Web Tokens signed with Ed25519. It knows which sessions exist at first and which
// of those are revoked from the start, so that whoever holds the seed can prepare its
// requests before anything runs. It does not know which sessions are active now: that is
// the session store's business.
package credential

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What every token says about where it comes from and whom it is for.
const (
	IssuerName = "rollout-lab-control"
	Audience   = "rollout-lab-refproxy"
)

// MaxLife is the longest that a token may count, from when it was issued until it expires.
const MaxLife = 24 * time.Hour

// SeedSize is the length of a seed in bytes.
const SeedSize = ed25519.SeedSize

// revokedEvery is the distance between two sessions that are revoked from the start.
const revokedEvery = 50

// SessionID is the ID of the n-th of the initial sessions, counted from 0.
func SessionID(n int) string {
	const width = 6
	digits := strconv.Itoa(n)
	id := make([]byte, 0, len("session-")+max(width, len(digits)))
	id = append(id, "session-"...)
	for range width - len(digits) {
		id = append(id, '0')
	}
	return string(append(id, digits...))
}

// Revoked reports whether the n-th of the initial sessions is revoked from the start: a
// fixed pattern, the last of every fifty.
func Revoked(n int) bool { return n%revokedEvery == revokedEvery-1 }

// NewSeed returns a random seed.
func NewSeed() []byte {
	seed := make([]byte, SeedSize)
	// It never fails: the process ends when the system has no randomness.
	_, _ = rand.Read(seed)
	return seed
}

// ParseSeed reads a seed in hexadecimal, as the environment carries it.
func ParseSeed(text string) ([]byte, error) {
	seed, err := hex.DecodeString(text)
	if err != nil {
		// The text is a secret, so the error must not repeat it.
		return nil, fmt.Errorf("seed is not hexadecimal")
	}
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("seed has %d bytes, want %d", len(seed), SeedSize)
	}
	return seed, nil
}

// Issuer mints tokens. It may be used concurrently.
type Issuer struct {
	key ed25519.PrivateKey
	kid string
}

// NewIssuer returns the issuer whose key follows from the seed of SeedSize bytes: the
// same seed gives the same key in every process.
func NewIssuer(seed []byte) (*Issuer, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("seed has %d bytes, want %d", len(seed), SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	return &Issuer{key: key, kid: keyID(key.Public().(ed25519.PublicKey))}, nil
}

// Token returns a signed token for a session, which counts from when it is issued for the
// given life; both ends are rounded down to the second. A life above MaxLife is refused by
// every Verifier.
func (i *Issuer) Token(session string, issued time.Time, life time.Duration) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Issuer:    IssuerName,
		Audience:  jwt.ClaimStrings{Audience},
		Subject:   session,
		IssuedAt:  jwt.NewNumericDate(issued),
		ExpiresAt: jwt.NewNumericDate(issued.Add(life)),
	})
	token.Header["kid"] = i.kid
	signed, err := token.SignedString(i.key)
	if err != nil {
		return "", fmt.Errorf("sign token of %s: %w", session, err)
	}
	return signed, nil
}

// Public is the key that verifies the issuer's tokens.
func (i *Issuer) Public() ed25519.PublicKey {
	return i.key.Public().(ed25519.PublicKey)
}

// KeyID is what the tokens call the issuer's key.
func (i *Issuer) KeyID() string { return i.kid }

// Keys is the key set to publish.
func (i *Issuer) Keys() KeySet {
	return KeySet{Keys: []Key{{
		Type: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: "EdDSA", ID: i.kid,
		X: base64.RawURLEncoding.EncodeToString(i.Public()),
	}}}
}

// keyID names a key by its content, so that two issuers never share a name by chance.
func keyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}
