#!lua flags=no-writes
-- answer: the server's time

return answer(iso(clock()))
