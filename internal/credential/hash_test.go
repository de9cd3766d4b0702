package credential

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// small makes tests fast; what is tested does not depend on the costs.
func small() *Hasher { return &Hasher{Memory: 64, Time: 2, Parallelism: 1} }

func hash(t testing.TB, h *Hasher, password string) string {
	t.Helper()
	encoded, err := h.Hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func verify(t testing.TB, h *Hasher, encoded, password string) Result {
	t.Helper()
	result, err := h.Verify(t.Context(), encoded, password)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// folio computes what mod-login would store, apart from the code under test.
func folio(t testing.TB, password, saltHex string) string {
	t.Helper()
	salt, err := hex.DecodeString(saltHex)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := pbkdf2.Key(sha1.New, password, salt, 1000, 20)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ToUpper(hex.EncodeToString(sum))
}

// The hash and salt with which FOLIO's public set-up scripts create the user
// diku_admin, password "admin".
const (
	dikuHash = "52DCA1934B2B32BEA274900A496DF162EC172C1E"
	dikuSalt = "483A7C864569B90C24A0A6151139FF0B95005B16"
)

func TestHashVerifiesItsOwnPasswordOnly(t *testing.T) {
	h := small()
	const password = "correct horse battery staple"
	encoded := hash(t, h, password)
	for _, other := range []string{"", "correct horse battery stapl", "correct horse battery staplf", "Correct horse battery staple", password + " ", encoded} {
		if verify(t, h, encoded, other).OK {
			t.Errorf("accepted %q", other)
		}
	}
	if got, want := verify(t, h, encoded, password), (Result{OK: true}); got != want {
		t.Errorf("own password: %+v, want %+v", got, want)
	}
	if again := hash(t, h, password); again == encoded {
		t.Error("two hashes of one password are equal, the salt is not random")
	}
}

func TestDefaultsAreTheOWASPFloor(t *testing.T) {
	encoded := hash(t, &Hasher{}, "correct horse battery staple")
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(encoded, want) {
		t.Errorf("got %s…, want %s…", encoded[:len(want)], want)
	}
}

// The expectations come from the test suite of the reference implementation
// of argon2 and from FOLIO, not from this code.
func TestVerifyReadsHashesOfOthers(t *testing.T) {
	tests := []struct {
		name, encoded, password string
	}{
		{"argon2 reference, two lanes", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
		{"argon2 reference, one lane", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
		{"FOLIO", "$folio-pbkdf2$" + dikuSalt + "$" + dikuHash, "admin"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := small()
			if got, want := verify(t, h, test.encoded, test.password), (Result{OK: true, Rehash: true}); got != want {
				t.Errorf("right password: %+v, want %+v", got, want)
			}
			if got := verify(t, h, test.encoded, test.password+"x"); got != (Result{}) {
				t.Errorf("wrong password: %+v", got)
			}
		})
	}
}

func TestImportedHashIsWrappedAndAsksToBeReplaced(t *testing.T) {
	h := small()
	for _, password := range []string{"admin", "pässwörd", "", strings.Repeat("x", maxPassword)} {
		encoded, err := h.ImportFOLIO(t.Context(), strings.ToLower(folio(t, password, dikuSalt)), dikuSalt)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(encoded, "$folio-pbkdf2+argon2id$"+dikuSalt+"$v=19$") {
			t.Errorf("imported as %s", encoded)
		}
		if got, want := verify(t, h, encoded, password), (Result{OK: true, Rehash: true}); got != want {
			t.Errorf("%q: %+v, want %+v", password, got, want)
		}
		if verify(t, h, encoded, "another").OK {
			t.Errorf("%q: another password is accepted", password)
		}
	}
}

func TestImportRefusesWhatIsNoFOLIOHash(t *testing.T) {
	for name, in := range map[string][2]string{
		"short hash":     {dikuHash[2:], dikuSalt},
		"long hash":      {dikuHash + "00", dikuSalt},
		"no hash":        {"", dikuSalt},
		"no salt":        {dikuHash, ""},
		"long salt":      {dikuHash, strings.Repeat("00", 65)},
		"odd salt":       {dikuHash, dikuSalt + "0"},
		"not hex":        {strings.Repeat("Zq", 20), dikuSalt},
		"salt with sign": {dikuHash, strings.Repeat("Zq", 20)},
	} {
		_, err := small().ImportFOLIO(t.Context(), in[0], in[1])
		if !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v, want ErrEncoding", name, err)
			continue
		}
		if strings.Contains(err.Error(), "Zq") || strings.Contains(err.Error(), "'Z'") {
			t.Errorf("%s: the error quotes what it read: %v", name, err)
		}
	}
}

// Who has stolen a table of hashes must not be able to log in with one.
func TestT68StoredHashIsNoPassword(t *testing.T) {
	h := small()
	raw, _ := hex.DecodeString(dikuHash)
	wrapped, err := h.ImportFOLIO(t.Context(), dikuHash, dikuSalt)
	if err != nil {
		t.Fatal(err)
	}
	for _, encoded := range []string{wrapped, "$folio-pbkdf2$" + dikuSalt + "$" + dikuHash, hash(t, h, "admin")} {
		for _, stolen := range []string{dikuHash, strings.ToLower(dikuHash), string(raw), dikuSalt + dikuHash, encoded} {
			if verify(t, h, encoded, stolen).OK {
				t.Errorf("%s accepts what is stored as the password", encoded[:20])
			}
		}
	}
	if strings.Contains(strings.ToUpper(wrapped), dikuHash) {
		t.Error("the wrapped form still holds FOLIO's fast hash")
	}
}

func TestRehashIsAskedForWhenParametersChanged(t *testing.T) {
	encoded := hash(t, small(), "secret words here")
	for name, test := range map[string]struct {
		now  *Hasher
		want bool
	}{
		"same":        {small(), false},
		"more memory": {&Hasher{Memory: 128, Time: 2, Parallelism: 1}, true},
		"more passes": {&Hasher{Memory: 64, Time: 3, Parallelism: 1}, true},
		"more lanes":  {&Hasher{Memory: 64, Time: 2, Parallelism: 2}, true},
		"less memory": {&Hasher{Memory: 32, Time: 2, Parallelism: 1}, true},
	} {
		if got := verify(t, test.now, encoded, "secret words here"); !got.OK || got.Rehash != test.want {
			t.Errorf("%s: %+v, want OK and Rehash %v", name, got, test.want)
		}
		if got := verify(t, test.now, encoded, "wrong"); got.Rehash {
			t.Errorf("%s: rehash of a wrong password", name)
		}
	}
}

func TestOnePasswordTypedInTwoForms(t *testing.T) {
	h := small()
	const composed, apart = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
	ours := hash(t, h, apart)
	for name, test := range map[string]struct {
		encoded, password string
		want              bool
	}{
		"ours, composed":                {ours, composed, true},
		"ours, taken apart":             {ours, apart, true},
		"FOLIO's raw, as it was":        {"$folio-pbkdf2$" + dikuSalt + "$" + folio(t, apart, dikuSalt), apart, true},
		"FOLIO's composed, taken apart": {"$folio-pbkdf2$" + dikuSalt + "$" + folio(t, composed, dikuSalt), apart, true},
		"FOLIO's composed, composed":    {"$folio-pbkdf2$" + dikuSalt + "$" + folio(t, composed, dikuSalt), composed, true},
		"other accent":                  {ours, "caf\u00e8 cr\u00e8me", false},
	} {
		if got := verify(t, h, test.encoded, test.password); got.OK != test.want {
			t.Errorf("%s: %+v, want OK %v", name, got, test.want)
		}
	}
}

// The time of a refusal must not tell whether a user exists, or was not seen
// since the import from FOLIO. Work is counted, because time is noisy.
func TestT34EveryAttemptCostsTheSame(t *testing.T) {
	h := small()
	var kib, runs uint32
	h.ran = func(p params) { kib += p.memory * p.time; runs++ }
	weak := &Hasher{Memory: 16, Time: 1, Parallelism: 1}
	wrapped, err := h.ImportFOLIO(t.Context(), dikuHash, dikuSalt)
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]string{
		"current":             hash(t, h, "admin"),
		"weaker parameters":   hash(t, weak, "admin"),
		"FOLIO's, wrapped":    wrapped,
		"FOLIO's, as it was":  "$folio-pbkdf2$" + dikuSalt + "$" + dikuHash,
		"unreadable":          "$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"unreadable, no hash": "",
	}
	for _, password := range []string{"admin", "wrong", "", "cafe\u0301"} {
		kib, runs = 0, 0
		if err := h.VerifyNothing(t.Context(), password); err != nil {
			t.Fatal(err)
		}
		want := kib
		if runs == 0 || want < 64*2 {
			t.Fatalf("%q, no such user: %d runs over %d KiB, want at least one of 64 KiB × 2", password, runs, kib)
		}
		for name, encoded := range stored {
			kib = 0
			_, err := h.Verify(t.Context(), encoded, password)
			if unreadable := strings.HasPrefix(name, "unreadable"); unreadable != errors.Is(err, ErrEncoding) {
				t.Errorf("%q, %s: error %v", password, name, err)
			}
			if kib != want {
				t.Errorf("%q, %s: work %d, an unknown user costs %d", password, name, kib, want)
			}
		}
	}
}

func TestNoHashIsNobodysHash(t *testing.T) {
	for _, password := range []string{"", "admin"} {
		if ok, err := small().try(encoding{}, password); ok != 0 || err != nil {
			t.Errorf("%q matches where nothing is stored: %d, %v", password, ok, err)
		}
	}
}

// Each hash takes memory and a core: a flood of logins must neither take the
// machine nor pile up.
func TestT35HashingIsBoundedUnderAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers, concurrent, queue = 500, 3, 10
		h := small()
		h.Concurrent, h.Queue = concurrent, queue
		encoded := hash(t, small(), "secret words here")
		var active, peak atomic.Int64
		release := make(chan struct{})
		h.ran = func(params) {
			for now := active.Add(1); ; {
				if seen := peak.Load(); now <= seen || peak.CompareAndSwap(seen, now) {
					break
				}
			}
			<-release
			active.Add(-1)
		}
		answers := make(chan error, callers)
		for range callers {
			go func() {
				_, err := h.Verify(context.Background(), encoded, "secret words here")
				answers <- err
			}()
		}
		synctest.Wait()
		// No more than the slots and the queue can hold wait; all others are
		// answered while no hash has finished.
		if got := active.Load(); got != concurrent {
			t.Errorf("%d hashes at once, want %d", got, concurrent)
		}
		if got := len(answers); got != callers-concurrent-queue {
			t.Errorf("%d are answered while the queue is full, want %d", got, callers-concurrent-queue)
		}
		for range len(answers) {
			if err := <-answers; !errors.Is(err, ErrBusy) {
				t.Errorf("full queue: %v, want ErrBusy", err)
			}
		}
		close(release)
		for range concurrent + queue {
			if err := <-answers; err != nil {
				t.Errorf("in the queue: %v", err)
			}
		}
		if got := peak.Load(); got != concurrent {
			t.Errorf("%d hashes at once, want %d", got, concurrent)
		}
		if got := h.waiting.Load(); got != 0 {
			t.Errorf("%d callers are still counted as waiting", got)
		}
	})
}

func TestT35CallerWhoGivesUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := small()
		h.Concurrent, h.Queue = 1, 1
		release := make(chan struct{})
		h.ran = func(params) { <-release }
		running := make(chan error, 1)
		go func() { running <- h.VerifyNothing(context.Background(), "first") }()
		synctest.Wait()

		ctx, cancel := context.WithCancel(context.Background())
		queued := make(chan error, 1)
		go func() { queued <- h.VerifyNothing(ctx, "second") }()
		synctest.Wait()
		if err := h.VerifyNothing(context.Background(), "third"); !errors.Is(err, ErrBusy) {
			t.Errorf("third caller: %v, want ErrBusy", err)
		}
		cancel()
		if err := <-queued; !errors.Is(err, context.Canceled) {
			t.Errorf("caller who gave up: %v, want context.Canceled", err)
		}
		fourth := make(chan error, 1)
		go func() { fourth <- h.VerifyNothing(context.Background(), "fourth") }()
		synctest.Wait()
		close(release)
		if err := errors.Join(<-running, <-fourth); err != nil {
			t.Errorf("the place of the caller who gave up is not free: %v", err)
		}
	})
}

func TestNoWorkIsDoneForWhatIsRefusedAnyway(t *testing.T) {
	h := small()
	encoded := hash(t, h, "secret words here")
	h.ran = func(params) { t.Error("argon2id was run") }
	long := strings.Repeat("x", maxPassword+1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ctx := t.Context()
	_, hashLong := h.Hash(ctx, long)
	_, verifyLong := h.Verify(ctx, encoded, long)
	_, hashEmpty := h.Hash(ctx, "")
	_, verifyGone := h.Verify(gone, encoded, "secret words here")
	for name, test := range map[string]struct{ got, want error }{
		"hash, too long":    {hashLong, ErrTooLong},
		"verify, too long":  {verifyLong, ErrTooLong},
		"nothing, too long": {h.VerifyNothing(ctx, long), ErrTooLong},
		"hash, empty":       {hashEmpty, ErrPassword},
		"caller gone":       {verifyGone, context.Canceled},
	} {
		if !errors.Is(test.got, test.want) {
			t.Errorf("%s: %v, want %v", name, test.got, test.want)
		}
	}
}

func TestHasherOutOfRangeIsRefused(t *testing.T) {
	for name, h := range map[string]*Hasher{
		"memory below 8 × lanes": {Memory: 15, Parallelism: 2},
		"memory bomb":            {Memory: maxMemory + 1},
		"too many passes":        {Time: maxTime + 1},
		"negative passes":        {Time: -1},
		"too many lanes":         {Parallelism: maxLanes + 1},
		"negative concurrency":   {Concurrent: -1},
	} {
		_, hashed := h.Hash(t.Context(), "secret words here")
		got := []bool{errors.Is(h.Check(), ErrParameters), errors.Is(hashed, ErrParameters)}
		if diff := cmp.Diff([]bool{true, true}, got); diff != "" {
			t.Errorf("%s: Check and Hash fail with ErrParameters (-want +got)\n%s", name, diff)
		}
	}
	if err := (&Hasher{Memory: maxMemory, Time: maxTime, Parallelism: maxLanes}).Check(); err != nil {
		t.Errorf("largest parameters: %v", err)
	}
}

func BenchmarkHash(b *testing.B) {
	h := &Hasher{}
	for b.Loop() {
		hash(b, h, "correct horse battery staple")
	}
}

func BenchmarkVerifyFOLIO(b *testing.B) {
	h := &Hasher{}
	for b.Loop() {
		verify(b, h, "$folio-pbkdf2$"+dikuSalt+"$"+dikuHash, "admin")
	}
}
