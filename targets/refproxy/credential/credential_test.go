package credential_test

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/rollout-lab/rollout-lab/targets/refproxy/credential"
)

// now is the time in these tests.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func issuer(t *testing.T, fill byte) *credential.Issuer {
	t.Helper()
	i, err := credential.NewIssuer([]byte(strings.Repeat(string(rune(fill)), credential.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestSessionID(t *testing.T) {
	for n, want := range map[int]string{
		0: "session-000000", 7: "session-000007", 999999: "session-999999", 1234567: "session-1234567",
	} {
		if got := credential.SessionID(n); got != want {
			t.Errorf("SessionID(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestRevokedIsOneInFifty(t *testing.T) {
	var got []int
	for n := range 150 {
		if credential.Revoked(n) {
			got = append(got, n)
		}
	}
	if len(got) != 3 || got[0] != 49 || got[1] != 99 || got[2] != 149 {
		t.Errorf("revoked sessions are %v, want 49, 99 and 149", got)
	}
}

func TestParseSeed(t *testing.T) {
	if _, err := credential.ParseSeed(strings.Repeat("0f", credential.SeedSize)); err != nil {
		t.Errorf("good seed: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "short": "0f0f", "long": strings.Repeat("0f", 33), "not hexadecimal": strings.Repeat("zz", 32),
	} {
		_, err := credential.ParseSeed(text)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: error repeats the secret: %v", name, err)
		}
	}
}

func TestSeedDeterminesTheKey(t *testing.T) {
	// Whoever shares the seed must be able to mint what another process verifies.
	token, err := issuer(t, 'a').Token(credential.SessionID(3), now, credential.MaxLife)
	if err != nil {
		t.Fatal(err)
	}
	v, err := credential.NewVerifier(issuer(t, 'a').Keys(), clock)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Session(token)
	if want := credential.SessionID(3); err != nil || got != want {
		t.Errorf("Session = %q, %v; want %q", got, err, want)
	}
}

func TestVerifierRefuses(t *testing.T) {
	ours, theirs := issuer(t, 'a'), issuer(t, 'b')
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", credential.SeedSize)))
	good := func() jwt.MapClaims {
		return jwt.MapClaims{
			"iss": credential.IssuerName, "aud": credential.Audience, "sub": "session-000001",
			"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		}
	}
	sign := func(method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
		token := jwt.NewWithClaims(method, claims)
		token.Header["kid"] = kid
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	with := func(name string, value any) jwt.MapClaims {
		c := good()
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
		return c
	}
	eddsa := jwt.SigningMethodEdDSA
	valid := sign(eddsa, private, ours.KeyID(), good())
	critical := jwt.NewWithClaims(eddsa, good())
	critical.Header["kid"], critical.Header["crit"], critical.Header["b64"] = ours.KeyID(), []string{"b64"}, true
	extended, err := critical.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := theirs.Token("session-000001", now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}

	v, err := credential.NewVerifier(ours.Keys(), clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Session(valid); err != nil {
		t.Fatalf("the good token that the others are made from: %v", err)
	}
	for name, token := range map[string]string{
		"empty":                  "",
		"no token":               "a.b",
		"other key":              foreign,
		"other key, our id":      sign(eddsa, ed25519.NewKeyFromSeed(make([]byte, 32)), ours.KeyID(), good()),
		"unknown key id":         sign(eddsa, private, "nobody", good()),
		"public key as a secret": sign(jwt.SigningMethodHS256, []byte(ours.Public()), ours.KeyID(), good()),
		"no signature":           sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, ours.KeyID(), good()),
		"changed signature":      valid[:len(valid)-4] + "AAAA",
		"other issuer":           sign(eddsa, private, ours.KeyID(), with("iss", "else")),
		"no issuer":              sign(eddsa, private, ours.KeyID(), with("iss", nil)),
		"other audience":         sign(eddsa, private, ours.KeyID(), with("aud", "else")),
		"no audience":            sign(eddsa, private, ours.KeyID(), with("aud", nil)),
		"expired":                sign(eddsa, private, ours.KeyID(), with("exp", now.Add(-time.Second).Unix())),
		"expires now":            sign(eddsa, private, ours.KeyID(), with("exp", now.Unix())),
		"never expires":          sign(eddsa, private, ours.KeyID(), with("exp", nil)),
		"not valid yet":          sign(eddsa, private, ours.KeyID(), with("nbf", now.Add(time.Hour).Unix())),
		"counts for too long":    sign(eddsa, private, ours.KeyID(), with("exp", now.Add(credential.MaxLife+time.Second).Unix())),
		"never issued":           sign(eddsa, private, ours.KeyID(), with("iat", nil)),
		"issued later":           sign(eddsa, private, ours.KeyID(), with("iat", now.Add(time.Second).Unix())),
		"unknown extension":      extended,
		"no session":             sign(eddsa, private, ours.KeyID(), with("sub", nil)),
	} {
		t.Run(name, func(t *testing.T) {
			if session, err := v.Session(token); err == nil {
				t.Errorf("accepted for %q", session)
			}
		})
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	good := issuer(t, 'a').Keys().Keys[0]
	change := func(f func(*credential.Key)) credential.KeySet {
		k := good
		f(&k)
		return credential.KeySet{Keys: []credential.Key{k}}
	}
	tests := []struct {
		name   string
		set    credential.KeySet
		noKeys bool
	}{
		{"no keys", credential.KeySet{}, true},
		{"keys of another kind", change(func(k *credential.Key) { k.Type = "RSA" }), true},
		{"key without an id", change(func(k *credential.Key) { k.ID = "" }), false},
		{"key that is no base64", change(func(k *credential.Key) { k.X = "!" }), false},
		{"key cut short", change(func(k *credential.Key) { k.X = k.X[:8] }), false},
	}
	for _, tt := range tests {
		_, err := credential.NewVerifier(tt.set, clock)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
		} else if got := errors.Is(err, credential.ErrNoKeys); got != tt.noKeys {
			t.Errorf("%s: errors.Is(%v, ErrNoKeys) = %v, want %v", tt.name, err, got, tt.noKeys)
		}
	}
}

func BenchmarkSession(b *testing.B) {
	i, err := credential.NewIssuer(make([]byte, credential.SeedSize))
	if err != nil {
		b.Fatal(err)
	}
	token, err := i.Token(credential.SessionID(1), now, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	v, err := credential.NewVerifier(i.Keys(), clock)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Session(token); err != nil {
			b.Fatal(err)
		}
	}
}
