package scan

import "strings"

// builtinNames are the functions that MariaDB 10.11 to 11.8 and MySQL 8.0 to 9.7 bring (information_schema.SQL_FUNCTIONS, mysql.help_topic).
// NEXTVAL and its kin are left out: they write.
const builtinNames = `
abs acos add_months adddate addtime aes_decrypt aes_encrypt any_value asbinary ascii asin astext aswkt atan atan2 avg benchmark bin
bin_to_uuid binlog_gtid_pos bit_and bit_count bit_length bit_or bit_xor cast ceil ceiling char char_length character_length charset chr
clone coalesce coercibility collation column_check column_exists column_json column_list compress concat concat_operator_oracle concat_ws
connection_id conv convert convert_tz cos cot count crc32 crc32c cume_dist curdate current_date current_role current_time current_timestamp
current_user curtime database date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear decode decode_histogram
decode_oracle default degrees dense_rank des_decrypt des_encrypt elt encode encrypt endpoint exp export_set exteriorring extract
extractvalue field find_in_set first_value floor format format_bytes format_pico_time found_rows from_base64 from_days from_unixtime
from_vector geomcollection geomcollfromtext geometrycollection geometryfromtext geometryfromwkb geometryn geometrytype geomfromtext
geomfromwkb get_format get_lock greatest group_concat grouping gtid_subset gtid_subtract hex hour icu_version if ifnull inet6_aton
inet6_ntoa inet_aton inet_ntoa insert instr interiorringn interval is_free_lock is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6 is_used_lock
is_uuid is_visible_dd_object isclosed isempty isnull issimple json_array json_array_append json_array_insert json_array_intersect
json_arrayagg json_compact json_contains json_contains_path json_depth json_detailed json_equals json_exists json_extract json_insert
json_key_value json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize json_object
json_object_filter_keys json_object_to_array json_objectagg json_overlaps json_pretty json_query json_quote json_remove json_replace
json_schema_valid json_schema_validation_report json_search json_set json_storage_free json_storage_size json_type json_unquote json_valid
json_value kdf lag last_day last_insert_id last_value lcase lead least left length lengthb linefromtext linefromwkb linestring
linestringfromtext linestringfromwkb ln load_file localtime localtimestamp locate log log10 log2 lower lpad lpad_oracle ltrim ltrim_oracle
make_set makedate maketime master_gtid_wait master_pos_wait max mbrcontains mbrcoveredby mbrcovers mbrdisjoint mbrequal mbrequals
mbrintersects mbroverlaps mbrtouches mbrwithin md5 median microsecond mid min minute mlinefromtext mod month monthname mpointfromtext
mpolyfromtext multilinestring multipoint multipolygon name_const natural_sort_key now nth_value ntile nullif numgeometries numinteriorrings
numpoints nvl nvl2 oct octet_length old_password ord password percent_rank percentile_cont percentile_disc period_add period_diff pi point
pointfromtext pointfromwkb pointn polyfromtext polyfromwkb polygon polygonfromtext polygonfromwkb position pow power ps_current_thread_id
ps_thread_id quarter quote radians rand random_bytes rank regexp_instr regexp_like regexp_replace regexp_substr release_all_locks
release_lock repeat replace replace_oracle reverse right round row row_count row_number rpad rpad_oracle rtrim rtrim_oracle schema schemas
sec_to_time second session_user sformat sha sha1 sha2 sign sin sleep soundex source_pos_wait space sqrt st_area st_asbinary st_asgeojson
st_astext st_aswkb st_aswkt st_boundary st_buffer st_buffer_strategy st_centroid st_collect st_contains st_convexhull st_crosses
st_difference st_dimension st_disjoint st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring st_frechetdistance
st_geohash st_geomcollfromtext st_geomcollfromwkb st_geometryfromtext st_geometryn st_geometrytype st_geomfromgeojson st_geomfromtext
st_geomfromwkb st_hausdorffdistance st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_isring st_issimple st_isvalid
st_latfromgeohash st_latitude st_length st_linefromtext st_linefromwkb st_lineinterpolatepoint st_lineinterpolatepoints
st_linestringfromtext st_longfromgeohash st_longitude st_makeenvelope st_mlinefromtext st_mlinefromwkb st_mpointfromtext st_mpointfromwkb
st_mpolyfromtext st_mpolyfromwkb st_numgeometries st_numinteriorrings st_numpoints st_overlaps st_pointatdistance st_pointfromgeohash
st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_polyfromtext st_polyfromwkb st_polygonfromtext st_relate st_simplify st_srid
st_startpoint st_swapxy st_symdifference st_touches st_transform st_union st_validate st_within st_x st_y startpoint statement_digest
statement_digest_text std stddev stddev_pop stddev_samp str_to_date strcmp string_to_vector subdate substr substr_oracle substring
substring_index subtime sum sys_guid sysdate system_user tan time time_format time_to_sec timediff timestamp timestampadd timestampdiff
to_base64 to_char to_days to_seconds to_vector trim trim_oracle truncate ucase uncompress uncompressed_length unhex unix_timestamp updatexml
upper user utc_date utc_time utc_timestamp uuid uuid_short uuid_to_bin validate_password_strength values var_pop var_samp variance
vec_distance vec_distance_cosine vec_distance_euclidean vec_fromtext vec_totext vector_dim vector_to_string version
wait_for_executed_gtid_set wait_until_sql_thread_after_gtids week weekday weekofyear weight_string wsrep_last_seen_gtid
wsrep_last_written_gtid wsrep_sync_wait_upto_gtid xa year yearweek
`

// openers are words that a parenthesis follows and that are no function.
const openers = `
against all and any as between bigint binary bit blob by case char character collate columns date datetime dec decimal distinct distinctrow
div double else end escape escaped except exists first fixed float for force from group having if ignore in index int integer intersect
interval into is join json_table key lateral like limit match mediumint mod national nchar next not numeric nvarchar of offset on or order
over partition primary range real recursive regexp return returning rlike row rows select separator set signed smallint some sounds
straight_join table tablesample text then time timestamp tinyint union unique unsigned use using value values varbinary varchar when where
window with within xor year
`

var builtin = words(builtinNames)

var called = words(builtinNames + openers)

func words(lists string) map[string]struct{} {
	m := map[string]struct{}{}
	for _, w := range strings.Fields(lists) {
		m[w] = struct{}{}
	}
	return m
}

// Builtin reports whether a function's name, unqualified and in whatever case, is one that servers bring. Any other may be a stored
// function, which can read and write what it wants.
func Builtin(name string) bool { return holds(builtin, name) }

// longestName is more than the longest builtin name has.
const longestName = 48

func holds(m map[string]struct{}, name string) bool {
	if len(name) > longestName {
		return false
	}
	var low [longestName]byte
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		low[i] = c
	}
	_, ok := m[string(low[:len(name)])]
	return ok
}
