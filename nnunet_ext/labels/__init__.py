"""Labels as hospitals have them: of several people, of a few slices, wrong in places."""
