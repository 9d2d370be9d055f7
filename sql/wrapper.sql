-- Connections to sources. A wrapper with a validator and no handler, as dblink_fdw: SERVER and USER MAPPING store where the
-- source is and how to log in, nothing else.

CREATE FOREIGN DATA WRAPPER cgpsync VALIDATOR cgpsync_fdw_validator;
