// Linked into every program of the asan preset. Leaks of libraries that are not ours are suppressed by the
// library's name, which LeakSanitizer can only tell while the library is loaded: Open MPI's components would
// be unloaded by then, so nothing is ever unloaded.
extern "C" int dlclose(void*) {
  return 0;
}

extern "C" const char* __lsan_default_suppressions() {
  return "leak:libmpi.so\n"
         "leak:libopen-pal.so\n"
         "leak:libopen-rte.so\n"
         "leak:/openmpi/\n"  // components of Open MPI
         "leak:libpmix.so\n"
         "leak:/pmix2/\n"
         "leak:libhwloc\n"
         "leak:libevent\n"
         "leak:__vasprintf_internal\n";  // asprintf, which the libraries above call and we do not
}

extern "C" const char* __lsan_default_options() {
  return "print_suppressions=0";
}
extern "C" const char* __ubsan_default_options() {
  return "print_stacktrace=1";
}
