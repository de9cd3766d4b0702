package store
import ("testing";"time";"os";"fmt";"sync";"context";"math/rand/v2";"slices")
func TestZZScale(t *testing.T){
 if os.Getenv("ZZ")=="" {t.Skip()}
 for _,n:=range []int{1000,1000000}{
  path:="/tmp/zz.db"; os.Remove(path);os.Remove(path+"-wal");os.Remove(path+"-shm")
  s,err:=Open(t.Context(),Config{Path:path,Now:time.Now}); must(t,err)
  t0:=time.Now(); ids:=make([][16]byte,n)
  var g sync.WaitGroup
  for p:=range 200{ g.Go(func(){ for i:=p;i<n;i+=200{ one:=newSession("diku",fmt.Sprintf("9eb67301-6f6e-468f-9b1a-%012d",rand.IntN(n)),time.Now()); check(t,s.CreateSession(context.Background(),one,100)); ids[i]=one.ID}})}
  g.Wait(); fmt.Println(n,"created",time.Since(t0)/time.Duration(n)); must(t,s.Checkpoint(t.Context()))
  fi,_:=os.Stat(path); fmt.Println("bytes/session",fi.Size()/int64(n))
  must(t,s.Close()); t0=time.Now()
  s,err=Open(t.Context(),Config{Path:path,Now:time.Now}); must(t,err)
  _,err=s.EndedSince(t.Context(),time.Now()); must(t,err);_,err=s.Struck(t.Context());must(t,err)
  fmt.Println("open",time.Since(t0))
  for _,active:=range []int{min(n,1000),min(n,10000)}{
  var mu sync.Mutex; var lat []time.Duration
  perm:=rand.Perm(n)[:active]
  c0:=processorTime()
  for p:=range 32{ g.Go(func(){ r:=rand.New(rand.NewPCG(1,uint64(p))); var l []time.Duration; for range 1500{ a:=time.Now(); check(t,s.UpdateSession(context.Background(),ids[perm[r.IntN(active)]],rotate)); l=append(l,time.Since(a))}; mu.Lock(); lat=append(lat,l...);mu.Unlock()})}
  g.Wait(); slices.Sort(lat); fmt.Println("active",active,"p50",lat[len(lat)/2],"p99",lat[len(lat)*99/100],"max",lat[len(lat)-1],"cpu",(processorTime()-c0)/int64(len(lat)))
  }
  st,_:=os.ReadFile("/proc/self/status"); for _,l:=range slices.Collect(func(y func(string)bool){ for _,x:=range splitLines(string(st)){ if !y(x){return}}}){ if len(l)>5 && l[:5]=="VmRSS"{fmt.Println(l)}}
  must(t,s.Close())
 }
}
func splitLines(s string)(r []string){ for len(s)>0{ i:=0; for i<len(s)&&s[i]!='\n'{i++}; r=append(r,s[:i]); if i<len(s){i++}; s=s[i:]};return}
