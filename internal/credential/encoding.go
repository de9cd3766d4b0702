package credential

import (
	"crypto/pbkdf2"
	"crypto/sha1" // FOLIO's choice, wrapped at import and replaced at the first login
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// scheme is how a stored hash was made; empty is no hash at all.
type scheme string

const (
	// $argon2id$v=19$m=19456,t=2,p=1$salt$tag, the PHC string format, with
	// base64 without padding.
	schemeArgon2id scheme = "argon2id"
	// $folio-pbkdf2$SALT$HASH, what mod-login keeps, both in upper-case
	// hexadecimal: PBKDF2-HMAC-SHA1, 1,000 rounds, 20 bytes.
	schemeFOLIO scheme = "folio-pbkdf2"
	// $folio-pbkdf2+argon2id$SALT$v=19$m=19456,t=2,p=1$salt$tag, argon2id over
	// the bytes of the hash before; SALT is FOLIO's.
	schemeWrapped scheme = "folio-pbkdf2+argon2id"
)

// Bounds of what is read from the store. Somebody who can write one row there
// must not be able to take the memory of the whole process with it.
const (
	maxEncoded = 512
	maxMemory  = 262_144 // KiB
	maxTime    = 16
	maxLanes   = 16
	minSalt    = 8
	maxSalt    = 64
	minTag     = 16
	maxTag     = 64

	folioRounds = 1000
	folioSize   = 20
)

// params are the costs of one run of argon2id: memory in KiB, time in passes.
type params struct {
	memory, time uint32
	lanes        uint8
}

func newParams(memory, time, lanes int) (params, error) {
	if lanes < 1 || lanes > maxLanes || time < 1 || time > maxTime || memory < 8*lanes || memory > maxMemory {
		return params{}, fmt.Errorf("%w: parallelism 1 to %d, time 1 to %d, memory 8 × parallelism to %d KiB",
			ErrParameters, maxLanes, maxTime, maxMemory)
	}
	return params{memory: uint32(memory), time: uint32(time), lanes: uint8(lanes)}, nil
}

// without are parameters for the work of p that is still to be done after
// spent, which is memory times passes; false if there is none to speak of.
func (p params) without(spent params) (params, bool) {
	want, had := p.memory*p.time, spent.memory*spent.time
	if had >= want {
		return params{}, false
	}
	rest := params{memory: (want - had) / p.time, time: p.time, lanes: p.lanes}
	return rest, rest.memory >= 8*uint32(p.lanes)
}

// encoding is a stored hash in its parts.
type encoding struct {
	scheme scheme
	// folioSalt is set for FOLIO's hashes, params and salt for argon2id.
	folioSalt []byte
	params    params
	salt      []byte
	tag       []byte
}

var base64Bare = base64.RawStdEncoding.Strict()

// String is the only spelling that parse reads.
func (e encoding) String() string {
	folio := strings.ToUpper(hex.EncodeToString(e.folioSalt))
	if e.scheme == schemeFOLIO {
		return fmt.Sprintf("$%s$%s$%s", e.scheme, folio, strings.ToUpper(hex.EncodeToString(e.tag)))
	}
	head := "$" + string(e.scheme)
	if e.scheme == schemeWrapped {
		head += "$" + folio
	}
	return fmt.Sprintf("%s$v=19$m=%d,t=%d,p=%d$%s$%s", head, e.params.memory, e.params.time, e.params.lanes,
		base64Bare.EncodeToString(e.salt), base64Bare.EncodeToString(e.tag))
}

// parse reads a stored hash. It fails with ErrEncoding, and then returns the
// empty encoding.
func parse(s string) (encoding, error) {
	if len(s) > maxEncoded {
		return encoding{}, ErrEncoding
	}
	e, err := split(strings.Split(s, "$"))
	// Leading zeros, signs, line breaks in base64 and lower-case digits all
	// read well and are not what String writes.
	if err != nil || e.String() != s {
		return encoding{}, ErrEncoding
	}
	return e, nil
}

func split(parts []string) (encoding, error) {
	switch {
	case len(parts) == 4 && parts[1] == string(schemeFOLIO):
		return parseFOLIO(parts[3], parts[2])
	case len(parts) == 6 && parts[1] == string(schemeArgon2id):
		return parseArgon2id(encoding{scheme: schemeArgon2id}, parts[3:])
	case len(parts) == 7 && parts[1] == string(schemeWrapped):
		salt, err := hex.DecodeString(parts[2])
		if err != nil || len(salt) < minSalt || len(salt) > maxSalt {
			return encoding{}, ErrEncoding
		}
		return parseArgon2id(encoding{scheme: schemeWrapped, folioSalt: salt}, parts[4:])
	}
	return encoding{}, ErrEncoding
}

// parseArgon2id adds to e what follows the version: parameters, salt and tag.
func parseArgon2id(e encoding, parts []string) (encoding, error) {
	var costs [3]int
	fields := strings.Split(parts[0], ",")
	if len(fields) != len(costs) {
		return encoding{}, ErrEncoding
	}
	for i, name := range []string{"m=", "t=", "p="} {
		n, err := strconv.Atoi(strings.TrimPrefix(fields[i], name))
		if err != nil {
			return encoding{}, ErrEncoding
		}
		costs[i] = n
	}
	var err error
	if e.params, err = newParams(costs[0], costs[1], costs[2]); err != nil {
		return encoding{}, ErrEncoding
	}
	if e.salt, err = base64Bare.DecodeString(parts[1]); err != nil || len(e.salt) < minSalt || len(e.salt) > maxSalt {
		return encoding{}, ErrEncoding
	}
	if e.tag, err = base64Bare.DecodeString(parts[2]); err != nil || len(e.tag) < minTag || len(e.tag) > maxTag {
		return encoding{}, ErrEncoding
	}
	return e, nil
}

// parseFOLIO reads the two columns of mod-login's auth_credentials.
func parseFOLIO(hashHex, saltHex string) (encoding, error) {
	if len(hashHex) != 2*folioSize || len(saltHex) < 2*minSalt || len(saltHex) > 2*maxSalt {
		return encoding{}, fmt.Errorf("%w: a FOLIO hash has %d hexadecimal digits, its salt %d to %d",
			ErrEncoding, 2*folioSize, 2*minSalt, 2*maxSalt)
	}
	tag, errTag := hex.DecodeString(hashHex)
	salt, errSalt := hex.DecodeString(saltHex)
	if errTag != nil || errSalt != nil {
		// Not the error of hex: it quotes what it could not read.
		return encoding{}, fmt.Errorf("%w: a FOLIO hash and its salt are hexadecimal", ErrEncoding)
	}
	return encoding{scheme: schemeFOLIO, folioSalt: salt, tag: tag}, nil
}

// folioHash is PBKDF2 as mod-login computes it, which nobody can configure.
func folioHash(password, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha1.New, string(password), salt, folioRounds, folioSize)
}
