package folio

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// keeper keeps what it was given to write, as HTTP/2 does with what is long when
// its stream was reset.
type keeper struct {
	*httptest.ResponseRecorder
	kept []byte
}

func (k *keeper) Write(p []byte) (int, error) {
	k.kept = p
	return len(p), nil
}

func TestALongAnswerIsNotWrittenOverByTheNext(t *testing.T) {
	first := &keeper{ResponseRecorder: httptest.NewRecorder()}
	writeJSON(first, http.StatusOK, strings.Repeat("a", 2*copied))
	before := slices.Clone(first.kept)
	for range 100 {
		writeJSON(&keeper{ResponseRecorder: httptest.NewRecorder()}, http.StatusOK, strings.Repeat("b", 2*copied))
	}
	if !slices.Equal(first.kept, before) {
		t.Error("another's answer is in it")
	}
}
